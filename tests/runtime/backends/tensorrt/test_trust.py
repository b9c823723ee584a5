"""An engine is code: it is run where this machine built it, a trusted key signed it, or the user says so."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
from commands import invoke
from fake_cuda import FakeCuda
from fake_engine import fake_tensorrt, install, write_engines
from fake_tensorrt import opened

from edgemate import api
from edgemate.bundle import Bundle
from edgemate.bundle.signing import sign_bundle
from edgemate.cli.bench import bench
from edgemate.cli.classify import classify
from edgemate.cli.evaluate import evaluate
from edgemate.errors import BackendError, BundleError, EdgemateError
from edgemate.runtime import AnytimeClassifier
from edgemate.runtime.backends.tensorrt.builder import build_bundle_engines
from edgemate.runtime.backends.tensorrt.compat import TensorRT
from edgemate.runtime.backends.tensorrt.loading import EngineFile, find_engines, open_engine
from edgemate.runtime.backends.tensorrt.options import BuildOptions
from edgemate.trust.keys import write_key_pair
from edgemate.trust.vouching import BUILT_HERE, SIGNED, USERS_WORD

THREE_WAYS = (
    r"segment_1\.engine: is not known to be built by this machine, and an engine is code: have the bundle signed by a "
    r"key of yours \(`trusted_keys`\), or run engines of any maker \(`trust_engines`\); build it again on this device: "
    r"edgemate build "
)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TensorRT:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEMATE_TRUST", str(tmp_path / "here"))
    return opened("10.3.0")


def forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be another machine."""
    monkeypatch.setenv("EDGEMATE_TRUST", str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("options", [{}, {"version_compatible": True}, {"hardware_compatibility_level": "ampere_plus"}])
def test_engines_of_another_machine_are_refused_in_one_line(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, object]
) -> None:
    bundle = Bundle.open(own_bundle)
    build_bundle_engines(bundle, trt, BuildOptions(**options))
    assert {engine.voucher for engine in find_engines(bundle, trt, "segments")} == {BUILT_HERE}
    forget(monkeypatch, tmp_path)
    before = len(trt.module.runtimes)
    with pytest.raises(BackendError, match=THREE_WAYS):
        find_engines(bundle, trt, "segments")
    assert len(trt.module.runtimes) == before, "nothing was deserialized"


def test_host_code_is_allowed_for_no_stranger(own_bundle: Path, trt: TensorRT) -> None:
    bundle = Bundle.open(own_bundle)
    [engine, *_] = build_bundle_engines(bundle, trt, BuildOptions(version_compatible=True))
    before = len(trt.module.runtimes)
    with pytest.raises(BackendError, match="is not known to be built by this machine"):
        open_engine(trt, EngineFile(engine.path, engine.metadata, engine.graph))
    assert len(trt.module.runtimes) == before


def test_the_users_word_is_enough(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build_bundle_engines(Bundle.open(own_bundle), trt, BuildOptions())
    forget(monkeypatch, tmp_path)
    found = find_engines(Bundle.open(own_bundle, trust_engines=True), trt, "segments")
    assert {engine.voucher for engine in found} == {USERS_WORD}
    assert open_engine(trt, found[0]) is not None


def test_a_signature_of_a_trusted_key_is_enough(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("cryptography")
    bundle = Bundle.open(own_bundle)
    build_bundle_engines(bundle, trt, BuildOptions())
    write_key_pair(tmp_path / "key.pem", tmp_path / "key.pub")
    sign_bundle(bundle, tmp_path / "key.pem")
    forget(monkeypatch, tmp_path)
    with pytest.raises(BackendError, match=THREE_WAYS):
        find_engines(Bundle.open(own_bundle), trt, "segments")  # a signature that nobody asked about says nothing
    signed = Bundle.open(own_bundle, trusted_keys=tmp_path / "key.pub")
    assert {engine.voucher for engine in find_engines(signed, trt, "segments")} == {SIGNED}
    with pytest.raises(BundleError, match="and a signature vouches for it"):
        sign_bundle(Bundle.open(own_bundle), tmp_path / "key.pem")


def test_metadata_that_were_changed_vouch_for_nothing(own_bundle: Path, trt: TensorRT) -> None:
    """The file beside an engine says how it is opened, so it was recorded with it."""
    bundle = Bundle.open(own_bundle)
    [engine, *_] = build_bundle_engines(bundle, trt, BuildOptions())
    beside = engine.path.with_name(engine.path.name + ".json")
    beside.write_text(beside.read_text().replace('"version_compatible": false', '"version_compatible": true'))
    with pytest.raises(BackendError, match=THREE_WAYS):
        find_engines(bundle, trt, "segments")


def test_what_was_vouched_for_is_what_is_run(own_bundle: Path, trt: TensorRT) -> None:
    bundle = Bundle.open(own_bundle)
    build_bundle_engines(bundle, trt, BuildOptions())
    engine = find_engines(bundle, trt, "segments")[0]
    engine.path.write_bytes(engine.path.read_bytes()[::-1])
    with pytest.raises(BackendError, match="was changed after it was built"):
        open_engine(trt, engine)


def test_a_build_does_not_take_over_what_a_stranger_left(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build_bundle_engines(Bundle.open(own_bundle), trt, BuildOptions())
    [folder] = (own_bundle / "engines").iterdir()
    shutil.copytree(folder, folder.with_name(f".{folder.name}.part"))  # as a build that was stopped leaves them
    forget(monkeypatch, tmp_path)
    before = len(trt.module.configs)
    build_bundle_engines(Bundle.open(own_bundle), trt, BuildOptions())
    assert len(trt.module.configs) == before + 3, "all were built again"
    assert find_engines(Bundle.open(own_bundle), trt, "segments")[0].voucher == BUILT_HERE


def test_where_nothing_can_be_recorded_nothing_is_built(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEMATE_TRUST", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="the list of engines built here cannot be kept: "):
        build_bundle_engines(Bundle.open(own_bundle), trt, BuildOptions())
    assert trt.module.configs == []


@pytest.mark.parametrize("what", ["engines", "folder", "engine", "engine.json"])
def test_a_link_is_not_followed_to_an_engine(own_bundle: Path, trt: TensorRT, tmp_path: Path, what: str) -> None:
    bundle = Bundle.open(own_bundle)
    build_bundle_engines(bundle, trt, BuildOptions())
    [folder] = (own_bundle / "engines").iterdir()
    linked = {
        "engines": folder.parent,
        "folder": folder,
        "engine": folder / "segment_1.engine",
        "engine.json": folder / "segment_1.engine.json",
    }[what]
    linked.rename(tmp_path / "outside")
    linked.symlink_to(tmp_path / "outside")
    with pytest.raises((BackendError, BundleError), match="is a link, and links are not followed"):
        find_engines(bundle, trt, "segments")
    if what in ("engines", "folder"):
        with pytest.raises(BackendError, match=r"engines cannot be written: .* is a link"):
            build_bundle_engines(bundle, trt, BuildOptions(), rebuild=True)


@pytest.fixture
def strange(own_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A bundle with engines of another machine, which would run here."""
    cuda = FakeCuda()
    trt = fake_tensorrt(cuda)
    install(monkeypatch, cuda, trt)
    write_engines(Bundle.open(own_bundle), ["segments", "prefixes"], trt, "1:1:8")
    forget(monkeypatch, tmp_path)
    return own_bundle


def test_every_command_refuses_them_and_takes_the_users_word(strange: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    commands = {
        classify: (strange, tmp_path / "image.png"),
        bench: (strange, "--repeats", 2, "--warmup", 0),
        evaluate: (strange, "--data", tmp_path / "images"),
    }
    (tmp_path / "images").mkdir()
    shutil.copy(tmp_path / "image.png", tmp_path / "images")
    for command, arguments in commands.items():
        refused = invoke(command, *arguments, "--backend", "tensorrt")
        assert isinstance(refused.exception, BackendError), command
        assert "is not known to be built by this machine" in str(refused.exception)
        taken = invoke(command, *arguments, "--backend", "tensorrt", "--trust-engines")
        assert taken.exit_code == 0, taken.output


def test_python_takes_the_users_word(strange: Path) -> None:
    with pytest.raises(BackendError, match="is not known to be built by this machine"):
        AnytimeClassifier.load(strange, "tensorrt")
    AnytimeClassifier.load(strange, "tensorrt", trust_engines=True).close()
    api.load(strange, "tensorrt", trust_engines=True).close()
    api.load(Bundle.open(strange, trust_engines=True), "tensorrt").close()


def test_a_profile_leaves_them_out(strange: Path) -> None:
    pytest.importorskip("onnxruntime")
    from edgemate.profiling.graph_calls import load_libraries

    bundle = Bundle.open(strange)
    with contextlib.ExitStack() as stack:
        found = load_libraries(bundle, bundle.golden().images[:1], 1, stack)
    assert "is not known to be built by this machine" in found.unavailable["tensorrt segments"]
    assert not any(library == "tensorrt" for library, _ in found.classifiers)


def test_a_timing_cache_of_another_machine_counts_as_empty(
    own_bundle: Path, trt: TensorRT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgemate.runtime.backends.tensorrt.timing_cache import TimingCache

    def known() -> bytes:
        config = trt.module.IBuilderConfig()
        TimingCache(tmp_path / "timings", "tag").load(config)
        content: bytes = config.get_timing_cache().serialize()
        return content

    config = trt.module.IBuilderConfig()
    config.set_timing_cache(config.create_timing_cache(b"timings conv"), ignore_mismatch=False)
    TimingCache(tmp_path / "timings", "tag").save(config)
    assert known() == b"timings conv"
    forget(monkeypatch, tmp_path)
    assert known() == b"timings"


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {}},
        {"options": {"batch": 3}},
        {"options": {"batch": "x"}},
        {"options": {"batch": "9" * 5000}},
        {"options": {"batch": "3:2:1"}},
        {"options": {"batch": "1:1:8", "dla_core": "first"}},
        {"options": {"batch": "1:1:8", "dla_core": 10**400}},
        {"options": {"batch": "1:1:8", "dla_core": True, "strip_weights": "yes"}},
        {"version": "9" * 5000},
        {"version": "10.3.0\n"},
        {"engine": {"sha256": "0" * 64, "bytes": 10**400}},
        {"onnx": "../../x", "onnx_sha256": "x"},
        {"compute_capabilities": [], "gpu": None, "driver": None},
        {"exit": 10**30, "build_seconds": 1e308},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_strange_metadata_end_in_one_line_even_by_the_users_word(strange: Path, changes: dict[str, object]) -> None:
    for beside in (strange / "engines").rglob("segment_1.engine.json"):
        beside.write_text(json.dumps(json.loads(beside.read_text()) | changes))
    with contextlib.suppress(EdgemateError), AnytimeClassifier.load(strange, "tensorrt", trust_engines=True):
        pass


@pytest.mark.timeout(60)
def test_a_strangers_engine_of_any_size_is_refused_unread(strange: Path) -> None:
    for engine in (strange / "engines").rglob("segment_1.engine"):
        with engine.open("wb") as target:
            target.truncate(1 << 40)  # of zeros, which take no place
        beside = engine.with_name("segment_1.engine.json")
        content = json.loads(beside.read_text())
        content["engine"]["bytes"] = 1 << 40
        beside.write_text(json.dumps(content))
    with pytest.raises(BackendError, match="is not known to be built by this machine"):
        AnytimeClassifier.load(strange, "tensorrt")
