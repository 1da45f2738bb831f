"""Names of emotions as people write them."""

from typing import Final

_SPELLINGS: Final = {
    "happy": "happiness",
    "joy": "happiness",
    "surprised": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
    "contemptuous": "contempt",
}


def emotion_of(name: str) -> str:
    """The emotion of FER+ that a name means; a name that means none comes back in small letters.

    Example:
        >>> emotion_of("Happy"), emotion_of("Sleepy")
        ('happiness', 'sleepy')
    """
    small = name.strip().lower()
    return _SPELLINGS.get(small, small)
