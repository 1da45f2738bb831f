"""Kill a process that writes to a gallery, at random moments, and compare what is left with what was acknowledged.

The test suite does some rounds; ``python -m tests.support.gallery_killing --rounds 250`` does as many as one likes.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from mien.index.gallery.embedded.gallery import open_embedded_gallery
from mien.index.gallery.store import SearchOptions, every_face
from mien.index.gallery.vectors.policy import IndexPolicy
from tests.support.gallery_implementations import EMBEDDER, SIZE, face

POLICY = IndexPolicy(growing=20, growing_share=0.0)
"""Merges often, so that kills meet merges."""

State = dict[str, float]
"""The place of each face by id."""


@dataclass
class Tally:
    """What came out.

    Attributes:
        rounds: processes that were killed.
        acknowledged: writes that returned before a kill.
        pending: kills that met a write on its way.
        lost: acknowledged faces that were missing, or at another place.
        resurrected: faces that were there though their deletion was acknowledged, or they never were.
        disagreements: rounds after which memory and database differed.
        faces: at the end.
    """

    rounds: int = 0
    acknowledged: int = 0
    pending: int = 0
    lost: int = 0
    resurrected: int = 0
    disagreements: int = 0
    faces: int = 0
    remarks: list[str] = field(default_factory=list)


def write_until_killed(folder: Path, seed: int, pipe: Connection) -> None:
    """Add, replace, delete and save without end; say each write before and after it is done."""
    generator = random.Random(seed)  # noqa: S311
    store = open_embedded_gallery(folder, SIZE, EMBEDDER, policy=POLICY)
    known = [each.id for each in every_face(store)]
    number = 0
    while True:
        number += 1
        kind = generator.choices(["add", "delete", "replace", "save"], [5, 4, 2, 0.3])[0]
        if kind == "save":
            store.save()
            continue
        faces = [f"{seed}-{number}-{row}" for row in range(generator.randint(1, 6))]
        if kind != "add":
            faces = generator.sample(known, min(len(known), len(faces)))
        places = {face_id: round(generator.uniform(1, 100), 3) for face_id in faces}
        pipe.send_bytes(json.dumps(["try", kind, places]).encode())
        if kind == "delete":
            store.delete(faces)
            known = [each for each in known if each not in places]
        else:
            store.add([face(face_id, place) for face_id, place in places.items()], replace=True)
            known.extend(faces if kind == "add" else [])
        pipe.send_bytes(b'["done"]')


def kill_rounds(folder: Path, rounds: int, seed: int = 0) -> Tally:
    """Let a process write, kill it, compare; and again in the same folder."""
    tally, state = Tally(), State()
    generator = random.Random(seed)  # noqa: S311
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.gallery_killing"])
    for number in range(rounds):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=write_until_killed, args=(folder, number, sending), daemon=True)
        process.start()
        sending.close()
        if generator.random() < 0.9:  # the others are killed while they open the gallery
            receiving.poll(30)
        time.sleep(generator.uniform(0, 0.15))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        state, pending = _replayed(receiving, state, tally)
        _compare(folder, state, pending, tally)
        tally.rounds += 1
    tally.faces = len(state)
    return tally


def _replayed(pipe: Connection, state: State, tally: Tally) -> tuple[State, State | None]:
    """The state after all acknowledged writes, and after the one on its way, if there was one."""
    pending: State | None = None
    while True:
        try:
            said: list[Any] = json.loads(pipe.recv_bytes())
        except EOFError:
            tally.pending += pending is not None
            return state, pending
        if said[0] == "done":
            assert pending is not None
            state, pending = pending, None
            tally.acknowledged += 1
        elif said[1] == "delete":
            pending = {face_id: place for face_id, place in state.items() if face_id not in said[2]}
        else:
            pending = {**state, **said[2]}


def _compare(folder: Path, state: State, pending: State | None, tally: Tally) -> None:
    store = open_embedded_gallery(folder, SIZE, EMBEDDER, policy=POLICY)
    try:
        listed = {each.id: round(float(each.embedding[0]), 3) for each in every_face(store)}
        origin = np.zeros((1, SIZE), dtype=np.float32)
        (matches,) = store.search(origin, max(1, len(listed)), SearchOptions()).matches
        searched = {match.face.id: round(match.distance, 3) for match in matches}
        if searched != listed or not store.check()["memory_agrees_with_database"]:
            tally.disagreements += 1
        tally.remarks += store.remarks
    finally:
        store.close()
    if pending is not None and listed == pending:
        state.clear()
        state.update(pending)
    tally.lost += sum(listed.get(face_id) != place for face_id, place in state.items())
    tally.resurrected += sum(face_id not in state for face_id in listed)


def main() -> None:
    """Do rounds and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=250)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        print(kill_rounds(Path(folder) / "gallery", arguments.rounds))  # noqa: T201
        print(f"{time.perf_counter() - start:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
