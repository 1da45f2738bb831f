import numpy as np

from mien.index.mixture.sub_classes import SubClasses


def test_faces_go_to_the_likeliest_sub_class_of_their_emotion(sub_classes: SubClasses) -> None:
    points = np.array([[8.1, 8, 8], [8.1, 8, 8], [4, 4, 4.2]])
    places, probabilities = sub_classes.assign(points, np.array([1, 0, 1]))
    assert places.tolist() == [2, 0, 1]
    assert probabilities[1] == 1
    assert (probabilities[[0, 2]] > 0.9).all()
