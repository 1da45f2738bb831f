"""Kill a process that writes to a gallery, at random moments, and compare what is stored with the acknowledged writes.

The tests run some rounds; ``python -m tests.support.gallery_killing --rounds 250`` runs any number.
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
"""Merges often, so that some kills happen during merges."""

State = dict[str, float]
"""The first coordinate of each face by id."""


@dataclass
class Tally:
    """The result.

    Attributes:
        rounds: processes that were killed.
        acknowledged: writes that returned before a kill.
        pending: kills during a write.
        lost: acknowledged faces that were missing or had another embedding.
        resurrected: faces that were stored though their deletion was acknowledged, or that were never added.
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
    """Add, replace, delete and save without end; report each write before and after."""
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
    """Let a process write, kill it and compare, several times in the same folder."""
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
        state, pending = _replay(receiving, state, tally)
        _compare(folder, state, pending, tally)
        tally.rounds += 1
    tally.faces = len(state)
    return tally


def _replay(pipe: Connection, state: State, tally: Tally) -> tuple[State, State | None]:
    """The state after all acknowledged writes, and after the one that was interrupted, if any."""
    pending: State | None = None
    while True:
        try:
            message: list[Any] = json.loads(pipe.recv_bytes())
        except EOFError:
            tally.pending += pending is not None
            return state, pending
        if message[0] == "done":
            assert pending is not None
            state, pending = pending, None
            tally.acknowledged += 1
        elif message[1] == "delete":
            pending = {face_id: place for face_id, place in state.items() if face_id not in message[2]}
        else:
            pending = {**state, **message[2]}


def _compare(folder: Path, state: State, pending: State | None, tally: Tally) -> None:
    store = open_embedded_gallery(folder, SIZE, EMBEDDER, policy=POLICY)
    try:
        listing = {each.id: round(float(each.embedding[0]), 3) for each in every_face(store)}
        origin = np.zeros((1, SIZE), dtype=np.float32)
        (matches,) = store.search(origin, max(1, len(listing)), SearchOptions()).matches
        searched = {match.face.id: round(match.distance, 3) for match in matches}
        if searched != listing or not store.check()["memory_agrees_with_database"]:
            tally.disagreements += 1
        tally.remarks += store.remarks
    finally:
        store.close()
    if pending is not None and listing == pending:
        state.clear()
        state.update(pending)
    tally.lost += sum(listing.get(face_id) != place for face_id, place in state.items())
    tally.resurrected += sum(face_id not in state for face_id in listing)


def main() -> None:
    """Run rounds and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=250)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        print(kill_rounds(Path(folder) / "gallery", arguments.rounds))  # noqa: T201
        print(f"{time.perf_counter() - start:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
