"""Files are whole or absent, and what is no file of ours is told from what is."""

import json
import os
import pickle
import stat
import sys

import pytest
import torch
from tiny import finished, python
from torch import nn

from ldm_edu.checkpoint import (
    CheckpointError,
    is_leftover,
    load_weights,
    read_about,
    read_json,
    read_tensors,
    remove_leftovers,
    write_atomic,
    write_json,
    write_tensors,
)


@pytest.fixture
def tensors():
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


def test_tensors_come_back_with_what_is_said_about_them(tmp_path, tensors):
    path = tmp_path / "deep" / "er" / "x.safetensors"
    write_tensors(path, tensors, {"step": 3, "name": "ε"})
    read, about = read_tensors(path)
    assert about == read_about(path) == {"step": 3, "name": "ε"}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[k], tensors[k]) and read[k].dtype == tensors[k].dtype for k in tensors)


def test_tied_and_strided_tensors_are_written(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    write_tensors(tmp_path / "x", {"base": base, "same": base, "turned": base.T, "part": base[1]})
    read, _ = read_tensors(tmp_path / "x")
    assert torch.equal(read["turned"], base.T)
    assert torch.equal(read["part"], base[1])


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    for text in (b"one", b"two"):
        write_atomic(tmp_path / "x", text)
    assert (tmp_path / "x").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_new_file_is_for_whom_the_umask_says_and_a_replaced_one_for_whom_it_was(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "x", b"one")
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
        (tmp_path / "x").chmod(0o600)
        write_atomic(tmp_path / "x", b"two")
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows allows links to few")
def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").write_bytes(b"one")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", b"two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"two"


def test_a_write_that_fails_says_so_and_changes_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="could not be written"):
        write_atomic(tmp_path / "file" / "x", b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="could not be written"):
        write_atomic(tmp_path / "folder", b"new")
    with pytest.raises(CheckpointError, match="could not be written"):
        write_atomic(tmp_path / ("x" * 250), b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(os.name == "nt", reason="Windows flushes no folder")
def test_a_file_is_flushed_before_the_move_and_its_folder_after(tmp_path, monkeypatch):
    flushed = []

    def look(descriptor):
        flushed.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "x").exists()))

    monkeypatch.setattr(os, "fsync", look)
    monkeypatch.setattr(sys, "platform", "linux")
    write_atomic(tmp_path / "x", b"one")
    assert flushed == [(False, False), (True, True)]

    def refuse(descriptor):
        look(descriptor)
        if flushed[-1][0]:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomic(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"two"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no fcntl")
@pytest.mark.parametrize("known", [True, False])
def test_macos_is_told_to_flush_the_disk_too(tmp_path, monkeypatch, known):
    import fcntl

    asked, flushed = [], []

    def control(descriptor, command):
        asked.append(command)
        if not known:
            raise OSError(45, "Operation not supported")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", flushed.append)
    write_atomic(tmp_path / "x", b"one")
    assert asked == [51, 51]
    assert len(flushed) == (0 if known else 2)


FILL = """
import resource, sys, torch
from ldm_edu.checkpoint import write_tensors
# The kernel then refuses to let a file grow on, as a full disk would.
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_tensors(sys.argv[1], {"x": torch.ones(100_000)})
except ValueError as error:
    sys.exit(str(error))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits a file's size by resource")
def test_a_full_disk_leaves_the_old_file(tmp_path, tensors):
    path = tmp_path / "x.safetensors"
    write_tensors(path, tensors)
    code, _, err = finished(python("-c", FILL, path))
    assert code == 1
    assert "could not be written" in err
    assert "unchanged" in err
    assert "Traceback" not in err
    assert torch.equal(read_tensors(path)[0]["a"], tensors["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_file_cut_anywhere_is_refused(tmp_path, tensors):
    path = tmp_path / "x.safetensors"
    write_tensors(path, tensors)
    whole = path.read_bytes()
    for length in range(0, len(whole), 5):
        path.write_bytes(whole[:length])
        for read in (read_tensors, read_about):
            with pytest.raises(CheckpointError, match=r"x\.safetensors: damaged"):
                read(path)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"a": torch.ones(3)}),
        bytes(range(256)) * 9,
        b'{"a": 1}',
        b"\x00" * 400,
        b"\x80\x02}q\x00.",
    ],
    ids=["pickle", "bytes", "json", "zeros", "short pickle"],
)
def test_foreign_files_are_refused(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged or not a safetensors"):
        read_tensors(path)


@pytest.mark.parametrize("about", ["[1]", "{", '"text"'])
def test_a_foreign_header_is_refused(tmp_path, about):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(3)}, tmp_path / "x", {"about": about})
    for read in (read_tensors, read_about):
        with pytest.raises(CheckpointError, match="damaged or not"):
            read(tmp_path / "x")


def test_missing_files_and_folders_are_named(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(CheckpointError, match="no such file"):
            read_tensors(path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_json(tmp_path / "absent")


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"\xff\xfe{}", b"3"])
def test_json_that_is_no_object_is_refused(tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_json_round_trip(tmp_path):
    value = {"name": "ü", "numbers": [1, 2.5], "nothing": None}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


def test_weights_fit_or_nothing_is_copied():
    net = nn.Linear(3, 2)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    good = {k: v + 1 for k, v in before.items()}
    for bad, message in (
        ({"weight": good["weight"]}, "bias is missing"),
        (good | {"more": torch.ones(1)}, "more is unexpected"),
        (good | {"bias": torch.ones(5)}, r"bias has shape \(5,\), expected \(2,\)"),
        ({str(i): torch.ones(1) for i in range(9)}, "and 8 more"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_weights(net, bad, "x")
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    load_weights(net, good, "x")
    assert all(torch.equal(v, good[k]) for k, v in net.state_dict().items())


def test_only_our_leftovers_are_removed(tmp_path):
    (tmp_path / "samples").mkdir()
    ours = [tmp_path / ".model.safetensors.ab12_xyz.part", tmp_path / "samples" / ".a.png.00000000.part"]
    others = [tmp_path / "a.part", tmp_path / ".notes.part", tmp_path / ".x.part.txt", tmp_path / "model.safetensors"]
    for path in ours + others:
        path.touch()
    remove_leftovers(tmp_path)
    assert not any(p.exists() for p in ours)
    assert all(p.exists() for p in others)
    assert all(is_leftover(p) for p in ours)


def test_tensors_that_were_read_do_not_depend_on_the_file(tmp_path):
    """In a process of its own: a view of a file that is cut kills the process."""
    write_tensors(tmp_path / "x", {"a": torch.ones(3000)})
    code = "import sys; from ldm_edu.checkpoint import read_tensors as r\nt = r(sys.argv[1])[0]['a']"
    code += "\nopen(sys.argv[1], 'wb').close(); print(int(t.sum()))"
    code, out, _ = finished(python("-c", code, tmp_path / "x"))
    assert (code, out) == (0, "3000\n")
