"""An artifact is complete or absent, and whatever was done to it since is noticed."""

import json
import shutil

import pytest

from protos.artifact import new_artifact, read_manifest, require_same_model, write_manifest, write_whole
from protos.errors import UserError

FORMAT = "test.thing/1"


@pytest.fixture
def artifact(tmp_path):
    with new_artifact(tmp_path / "thing") as building:
        (building / "part").mkdir()
        (building / "part" / "numbers").write_bytes(b"12345")
        (building / "words").write_text("abc")
        write_manifest(building, FORMAT, extra=7)
    return tmp_path / "thing"


def test_what_was_written_is_read(artifact):
    manifest = read_manifest(artifact, FORMAT)
    assert manifest["extra"] == 7
    assert manifest["files"]["part/numbers"]["bytes"] == 5
    assert [path.name for path in artifact.parent.iterdir()] == ["thing"]


def test_the_fingerprint_follows_the_content_alone(artifact, tmp_path):
    before = read_manifest(artifact, FORMAT)["fingerprint"]
    shutil.copytree(artifact, tmp_path / "copy")
    assert write_manifest(tmp_path / "copy", FORMAT, extra=8)["fingerprint"] == before
    (tmp_path / "copy" / "words").write_text("abd")
    assert write_manifest(tmp_path / "copy", FORMAT)["fingerprint"] != before


def test_an_error_leaves_the_old_artifact_and_nothing_else(artifact):
    def fail_half_way():
        with new_artifact(artifact) as building:
            (building / "half").write_text("written")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert read_manifest(artifact, FORMAT)["extra"] == 7
    assert [path.name for path in artifact.parent.iterdir()] == ["thing"]


def test_a_new_artifact_replaces_the_old_one_whole(artifact):
    with new_artifact(artifact) as building:
        (building / "only").write_text("this")
        write_manifest(building, FORMAT)
    assert sorted(path.name for path in artifact.iterdir()) == ["manifest.json", "only"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "words").write_text("ab"), r"words has 2 bytes, its manifest says 3: .*truncated"),
        (lambda path: (path / "words").write_text("abd"), r"words does not match the checksum"),
        (lambda path: (path / "words").unlink(), r"words is missing though the manifest lists it"),
        (lambda path: (path / "manifest.json").unlink(), r"has no manifest.json: it is not a complete test.thing/1"),
        (lambda path: shutil.rmtree(path), r"thing does not exist; expected a directory"),
    ],
)
def test_damage_is_named(artifact, damage, message):
    damage(artifact)
    with pytest.raises(UserError, match=message):
        read_manifest(artifact, FORMAT)


def test_another_format_is_named(artifact):
    with pytest.raises(UserError, match=r"format is 'test.thing/1', expected 'test.other/1'"):
        read_manifest(artifact, "test.other/1")


def test_a_manifest_that_is_no_json_is_named(artifact):
    (artifact / "manifest.json").write_text(json.dumps({"format": FORMAT})[:-3])
    with pytest.raises(UserError, match=r"manifest.json"):
        read_manifest(artifact, FORMAT)


def test_index_and_model_cannot_be_mixed_up():
    require_same_model({"model_fingerprint": "a" * 64}, {"fingerprint": "a" * 64}, "index", "model")
    with pytest.raises(UserError, match=r"index was built from another model: it names aaaaaaaaaaaa.*is bbbbbbbbbbbb"):
        require_same_model({"model_fingerprint": "a" * 64}, {"fingerprint": "b" * 64}, "index", "model")


def test_what_is_there_by_the_end_is_left_alone_where_it_may_not_be_replaced(tmp_path):
    def be_overtaken():
        with new_artifact(tmp_path / "thing", replace=False) as building:
            (building / "words").write_text("second")
            (tmp_path / "thing").mkdir()
            (tmp_path / "thing" / "words").write_text("first")

    with pytest.raises(FileExistsError):
        be_overtaken()
    assert (tmp_path / "thing" / "words").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    with new_artifact(tmp_path / "new", replace=False) as building:
        (building / "words").write_text("new")
    assert (tmp_path / "new" / "words").read_text() == "new"


def test_a_manifest_can_be_elsewhere_in_the_artifact(artifact):
    (artifact / "manifest.json").rename(artifact / "part" / "manifest.json")
    assert read_manifest(artifact, FORMAT, "part/manifest.json")["extra"] == 7
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        read_manifest(artifact, FORMAT)


def test_a_text_that_cannot_take_its_place_leaves_nothing_of_itself(tmp_path):
    (tmp_path / "page.html" / "in the way").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "page.html", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
