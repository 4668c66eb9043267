"""What a user gets wrong about data, recordings and checkpoints: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, cast

import pytest

from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.errors import InputError
from ftcot.hashes import FileHashes
from ftcot.run import run

Wrong = Callable[..., str]

HEADER = '{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
SAFETENSORS = len(HEADER).to_bytes(8, "little").decode() + HEADER + "x"
"""A file of one tensor of one byte."""


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wrong:
    """Runs the command, which must refuse; returns its one line."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("FTCOT_CACHE", str(here / "cache"))

    def refused(*words: str) -> str:
        code = run(words)
        said = capsys.readouterr()
        assert (code, said.out) == (2, ""), said.err
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert list(here.iterdir()) == []
        return said.err

    return refused


@pytest.mark.data
def test_a_degree_above_what_was_recorded(wrong: Wrong, data_dir: Path) -> None:
    said = wrong(f"paths.data={data_dir}", "task=multiarith", "diversity=32")
    assert "diversity=32" in said
    assert "16" in said


@pytest.mark.data
def test_no_filter_on_recordings_of_correct_completions(wrong: Wrong, data_dir: Path) -> None:
    said = wrong(f"paths.data={data_dir}", "task=strategy_qa", "curation.filter=none")
    assert "curation.filter=none needs wrong completions too" in said
    assert "holds correct ones only" in said


@pytest.mark.data
def test_a_subset_larger_than_the_split(wrong: Wrong, data_dir: Path) -> None:
    said = wrong(f"paths.data={data_dir}", "task=multiarith", "task.train_size=421")
    assert "task.train_size=421" in said
    assert "420" in said


@pytest.mark.data
@pytest.mark.parametrize("damage", ["corrupt", "cut"])
def test_a_damaged_recording_is_named_by_line(wrong: Wrong, data_dir: Path, tmp_path: Path, damage: str) -> None:
    lines = (data_dir / "recorded/text-davinci-002-paper/multiarith.jsonl").read_text().splitlines(keepends=True)[:300]
    lines[41] = lines[41][: len(lines[41]) // 2] + "\n" if damage == "corrupt" else lines[41]
    lines[-1] = lines[-1][:50] if damage == "cut" else lines[-1]
    (tmp_path / "mine.jsonl").write_text("".join(lines))
    said = wrong(f"paths.data={data_dir}", "task=multiarith", f"teacher.path={tmp_path / 'mine.jsonl'}")
    assert f"mine.jsonl, line {42 if damage == 'corrupt' else 300}: not valid JSON" in said


@pytest.mark.data
def test_a_recording_cut_amid_its_compression(wrong: Wrong, data_dir: Path, tmp_path: Path) -> None:
    packed = (data_dir / "recorded/text-davinci-002-t70/multiarith.jsonl.gz").read_bytes()
    (tmp_path / "mine.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    said = wrong(
        f"paths.data={data_dir}", "task=multiarith", "diversity=8", f"teacher.path={tmp_path / 'mine.jsonl.gz'}"
    )
    assert "mine.jsonl.gz: cannot be read" in said


@pytest.mark.data
def test_a_raw_file_with_another_content(wrong: Wrong, data_dir: Path, tmp_path: Path) -> None:
    relative = "zero_shot_cot/dataset/MultiArith/MultiArith.json"
    (tmp_path / "data" / relative).parent.mkdir(parents=True)
    content = (data_dir / relative).read_text()
    (tmp_path / "data" / relative).write_text(content.replace("39.0", "40.0", 1))
    said = wrong(f"paths.data={tmp_path / 'data'}", "task=multiarith")
    assert "sha256" in said
    assert "MultiArith.json" in said


def test_a_missing_recording_names_where_it_was_looked_for(wrong: Wrong, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1}) + "\n" for n in range(20)))
    said = wrong("task=jsonl", f"task.path={mine}", "task.answer=number", f"paths.data={tmp_path}")
    assert "teacher.path" in said
    assert '"rationale"' in said  # what a line of it looks like


def test_a_generated_task_has_no_recordings(wrong: Wrong) -> None:
    assert "teacher=procedural" in wrong("teacher=replay")


def test_a_procedural_teacher_knows_generated_tasks_only(wrong: Wrong, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1}) + "\n" for n in range(20)))
    said = wrong("task=jsonl", f"task.path={mine}", "task.answer=number", "teacher=procedural")
    assert "task=generated/" in said


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ('{"question": "2 + 2?"', "line 2: not valid JSON"),
        ('{"question": "2 + 2?"}', "line 2"),
        ('{"question": "2 + 2?", "answer": "four"}', "line 2"),
        ('{"question": " ", "answer": 4}', "line 2"),
    ],
)
def test_a_line_of_ones_own_task_that_does_not_fit(wrong: Wrong, tmp_path: Path, row: str, complaint: str) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "1 + 1?", "answer": 2}\n' + row + "\n")
    said = wrong("task=jsonl", f"task.path={tmp_path / 'mine.jsonl'}", "task.answer=number", "method=fine_tune")
    assert "mine.jsonl" in said
    assert complaint in said


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({}, "config.json"),
        ({"config.json": '{"model_type": "gpt2"}', "pytorch_model.bin": "x"}, "safetensors"),
        (
            {
                "config.json": '{"model_type": "t5", "is_encoder_decoder": true}',
                "model.safetensors": SAFETENSORS,
                "tokenizer.json": "{}",
            },
            "encoder_decoder",
        ),
    ],
    ids=["nothing", "pickle", "family"],
)
def test_a_checkpoint_that_will_not_do(wrong: Wrong, tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    assert complaint in wrong("student=decoder", f"student.checkpoint={folder}")


def test_a_checkpoint_that_is_not_cached_offline(wrong: Wrong) -> None:
    said = wrong("student=decoder", "student.checkpoint=nobody/no-such-model")
    assert "nobody/no-such-model" in said


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("timeout=90x", "timeout=90x: expected seconds, or a time such as 90m"),
        ("keep=all", "keep=all: expected last, best or none"),
        ("keep=best", "keep=best: the best epoch is chosen on the validation split, and there is none"),
        ("on_error=halt", "on_error=halt: expected continue or stop"),
        ("~on_error", "on_error: no job can do without it"),
        ("devices.gpus=0", "devices.gpus=0: expected auto, or a list of GPU ids such as [0,1]"),
        ("devices.gpus=[]", "devices.gpus=[]: expected auto"),
        ("devices.gpus=[first]", "devices.gpus=['first']: expected auto"),
        ("devices.gpus=[0,'0']", "a GPU is named twice; devices.jobs_per_gpu=2"),
        ("devices.jobs_per_gpu=0", "devices.jobs_per_gpu=0: expected auto, or 1 or more"),
        ("devices.threads=all", "devices.threads=all: expected auto, or 1 or more"),
        ("+devices.cpus=2", "devices.cpus: no such key; devices has gpus, jobs_per_gpu, threads"),
        ("devices=2", "devices=2: expected gpus, jobs_per_gpu, threads"),
        ("trainer.devices=2", "trainer.devices=2: more than one device needs trainer=ddp"),
        ("trainer=ddp trainer.accelerator=cpu trainer.devices=32", "fewer pairs in a step than the 32 devices"),
        ("trainer=ddp trainer.num_nodes=2", "trainer.num_nodes=2: which machine is this?"),
        ("trainer=fsdp training=lora trainer.devices=1", "LoRA needs no sharding"),
    ],
    ids=lambda value: value if "=" in value and ":" not in value else "",
)
def test_settings_that_nothing_could_heed(wrong: Wrong, words: str, line: str) -> None:
    assert line in wrong(*words.split())


def test_a_best_epoch_is_kept_where_validation_questions_tell_it(tmp_path: Path) -> None:
    config = Composer(conf_dir()).job([f"paths.cache={tmp_path}", "keep=best", "task.validation_size=8"])
    assert Checker(FileHashes(tmp_path / "hashes.json")).check(config).splits.validation


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("trainer=ddp trainer.devices=3", "trainer.devices=3: of this machine's GPUs the job may use 2, 5 only"),
        ("trainer=ddp trainer.devices=2 devices.gpus=[5]", "the job may use 5 only"),
        ("devices.gpus=[2,7]", "devices.gpus=7: this machine shows GPU 2, 5"),
    ],
)
def test_more_gpus_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, line: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    config = Composer(conf_dir()).job([f"paths.cache={tmp_path}", "logger=none", *words.split()])
    with pytest.raises(InputError, match=line):
        Checker(FileHashes(tmp_path / "hashes.json")).check(config)
    assert Checker(FileHashes(tmp_path / "hashes.json"), local=False).check(config).hash


def test_two_tasks_of_slurm_on_one_machine(wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "2"}.items():
        monkeypatch.setenv(name, value)
    said = wrong("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert "SLURM starts 2 tasks on a machine" in said


def test_an_online_tracker_needs_a_login(wrong: Wrong, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert "logger.mode=online: not logged in" in wrong("logger.mode=online")


@pytest.fixture
def asked(wrong: Wrong, monkeypatch: pytest.MonkeyPatch) -> Wrong:
    """Runs a job whose teacher is a model behind a server, which must be refused; returns its one line."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return lambda *words: wrong("teacher=api", "logger=none", "teacher.model=m", *words)


def test_a_server_that_needs_a_key(asked: Wrong) -> None:
    said = asked()
    assert "api.openai.com" in said
    assert "$OPENAI_API_KEY is not set" in said


def test_a_server_that_is_not_there(asked: Wrong) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    said = asked(f"teacher.base_url={url}")  # closed by now
    assert f"teacher.base_url={url}: cannot be connected to" in said
    assert asked("-m", f"teacher.base_url={url}", "diversity=1,2") == said


class _Models(BaseHTTPRequestHandler):
    """Lists its models, and remembers what it was asked."""

    def do_GET(self) -> None:
        body = json.dumps({"object": "list", "data": [{"id": "tiny-llama", "max_model_len": 2048}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        cast(_Server, self.server).asked.append(self.path)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    asked: ClassVar[list[str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Models) as found:
        found.asked.clear()
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_a_model_that_the_server_has_not(asked: Wrong, server: _Server) -> None:
    said = asked(f"teacher.base_url={server.url}")
    assert f"teacher.model=m: {server.url} has no such model; it has tiny-llama" in said
    assert server.asked == ["/v1/models"]  # and nothing that costs anything


def test_a_sweep_asks_a_server_once(asked: Wrong, server: _Server) -> None:
    said = asked("-m", f"teacher.base_url={server.url}", "diversity=1,2", "seed=0,1")
    assert "has no such model" in said
    assert server.asked == ["/v1/models"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("teacher.context=256", "teacher.context=256: question "),
        ("teacher.context=700;teacher.prompting.max_tokens=512", "needs "),
        ("teacher.prompting.prompt='Think step by step.'", "has no {question} in it"),
        ("teacher.prompting.prompt='{question} {answer}'", "{answer} is not one of {question}, {demonstrations}"),
        ("teacher.prompting.style=socratic", "teacher.prompting.style='socratic': expected one of zero_shot_cot, "),
        ("teacher.prompting.verbosity=loud", "teacher.prompting.verbosity='loud': style zero_shot_cot has short, "),
        ("teacher.prompting.max_tokens=0", "teacher.prompting.max_tokens=0: expected 1 or more"),
        ("teacher.budget_usd=-1", "teacher.budget_usd=-1: expected 0 or more, or null for no limit"),
        ("teacher.budget_tokens=-1", "teacher.budget_tokens=-1: expected 0 or more, or null for no limit"),
        ("teacher.budget_usd=1", "teacher.budget_usd=1: what tiny-llama costs is not known"),
        ("teacher.prices={input: 1}", "teacher.prices.output: missing"),
        ("teacher.prices={input: -1, output: 2}", "teacher.prices.input=-1: expected US dollars"),
        ("teacher.tokenizer=no/tokenizer.json", "teacher.tokenizer=no/tokenizer.json: no such file"),
        ("teacher.model=''", "teacher.model: which model shall answer?"),
        ("teacher.base_url=127.0.0.1:8000", "teacher.base_url=127.0.0.1:8000: expected the URL of a server"),
    ],
    ids=lambda value: value if value.startswith("teacher") and ":" not in value else "",
)
def test_a_teacher_that_cannot_be_asked_so(asked: Wrong, server: _Server, words: str, line: str) -> None:
    url = () if "base_url" in words else (f"teacher.base_url={server.url}",)
    assert line in asked("teacher.model=tiny-llama", *url, *words.split(";"))
    assert server.asked == []


@pytest.mark.parametrize("damage", ["a line", "a segment", "all"])
def test_a_store_that_cannot_be_read(asked: Wrong, server: _Server, tmp_path: Path, damage: str) -> None:
    store = tmp_path / "cache" / "completions"
    folder = store / "tiny-llama" / "generated_coin_flip"
    folder.mkdir(parents=True)
    segment = folder / "host-1-ab.jsonl"
    if damage == "a line":
        segment.write_text('{"key": \n{"key": {}}\n')
    elif damage == "a segment":
        segment.symlink_to(segment)  # nobody can open it, root no more than others
    else:
        shutil.rmtree(store)
        store.write_text("")
    before = sorted(tmp_path.rglob("*"))
    said = asked("teacher.model=tiny-llama", f"teacher.base_url={server.url}", f"paths.cache={tmp_path / 'cache'}")
    assert str({"a line": segment, "a segment": folder, "all": store}[damage]) in said
    assert sorted(tmp_path.rglob("*")) == before
    assert server.asked == []


def test_a_judge_that_is_not_there(wrong: Wrong) -> None:
    said = wrong(
        "logger=none",
        "curation.filter=judge",
        "+teacher@curation.judge=api",
        "curation.judge.model=m",
        "curation.judge.base_url=http://127.0.0.1:9/v1",
    )
    assert "curation.judge: teacher.base_url=http://127.0.0.1:9/v1: cannot be connected to" in said


@pytest.mark.data
def test_a_unified_list_that_was_cut(wrong: Wrong, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    whole = gzip.decompress((data_dir / "datasets/commonsense_qa.jsonl.gz").read_bytes())
    (tmp_path / "datasets/commonsense_qa.jsonl.gz").write_bytes(gzip.compress(whole[:100_000]))
    said = wrong(f"paths.data={tmp_path}", "task=commonsense_qa", "method=fine_tune")
    assert "commonsense_qa.jsonl.gz, line " in said
