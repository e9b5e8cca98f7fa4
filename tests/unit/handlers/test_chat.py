"""The type chat answers from the documents as they are now, quotes them, and says so when they have nothing."""

import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

import streams.handlers.chat as handler
from schemas.errors import ConfigurationError
from schemas.payloads.chat import ChatPayload
from schemas.settings import ChatSettings, Settings
from streams.handlers import documents
from streams.handlers.documents import DocumentIndex, fts_quote, question_terms, read_document, split
from streams.handlers.retry_after import DEFAULT_WAIT, MAX_WAIT, retry_after
from tests.support.contexts import context_for
from tests.support.source_tree import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "moon.md").write_text("# The moon\n\nThe moon circles the earth in 27 days.\n")
    (folder / "sun.txt").write_text("The sun shines on the earth.\n")
    return folder


@pytest.fixture
def index(folder: Path, tmp_path: Path) -> DocumentIndex:
    return DocumentIndex(folder, tmp_path / "indexes")


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("Why is a task a dead letter?", "dead-letters.md"),
        ("What is a lane?", "lanes.md"),
        ("Which states are final?", "statuses.md"),
        ("Which errors are retried with backoff?", "retries.md"),
        ("How do I redrive dead letters?", "dead-letters.md"),
        ("generation of a replayed task", "replay.md"),
        ("what is an idempotency key good for?", "tasks.md"),
        ("LANE?", "lanes.md"),
    ],
)
async def test_the_best_passage_comes_from_the_right_document(question: str, document: str, settings: Settings) -> None:
    asked = settings.model_copy(update={"chat": ChatSettings(documents_dir=EXAMPLES / "documents")})
    result = await handler.process_query(ChatPayload(message=question), context_for("chat", asked))
    assert result["found"] is True
    assert result["answered_by"] == "documents"
    assert result["sources"][0]["document"] == document
    assert 1 <= len(result["sources"]) <= 3
    for number, source in enumerate(result["sources"], start=1):
        assert source["passage"] in (EXAMPLES / "documents" / source["document"]).read_text("utf-8")
        assert f"[{number}] {source['document']}:\n{source['passage']}" in result["answer"]
    scores = [source["score"] for source in result["sources"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "question", ["Who won the football match on Sunday?", "the of and", "?!", "\x00", "中文", '"', "NEAR(", "* OR *"]
)
async def test_nothing_found_is_said(question: str, settings: Settings) -> None:
    asked = settings.model_copy(update={"chat": ChatSettings(documents_dir=EXAMPLES / "documents")})
    result = await handler.process_query(ChatPayload(message=question), context_for("chat", asked))
    assert result["answer"] == "The documents say nothing about this."
    assert (result["found"], result["sources"]) == (False, [])


async def test_no_folder_is_an_empty_folder(settings: Settings) -> None:
    result = await handler.process_query(ChatPayload(message="moon"), context_for("chat", settings))
    assert result["found"] is False


@pytest.mark.parametrize(
    "question",
    [
        'moon" OR "sun',
        "moon AND NOT moons",
        "body:moon",
        "moon*",
        "NEAR(moon earth, 5)",
        "{moon} : ^moon",
        "-moon",
        "moon'--",
    ],
)
def test_no_question_is_query_syntax(question: str, index: DocumentIndex) -> None:
    assert "moon.md" in {passage.document for passage in index.search(question, 3)}


@pytest.mark.parametrize("term", ['"', 'a"b', '" OR "', "AND", "NEAR", "*", "^", "a\x00b", ":"])
def test_a_quoted_term_is_only_text(term: str) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE texts USING fts5 (body)")
    connection.execute("INSERT INTO texts VALUES ('sun')")
    assert connection.execute("SELECT * FROM texts WHERE texts MATCH ?", (fts_quote(term),)).fetchall() == []
    connection.close()


def test_the_terms_of_a_question_are_few_and_each_once() -> None:
    assert question_terms("What is the Moon's moon, and the MOON?") == ["moon"]
    assert len(question_terms(" ".join(f"word{number}" for number in range(500)))) == 24


def test_the_index_follows_the_folder(index: DocumentIndex, folder: Path) -> None:
    assert [passage.document for passage in index.search("moon", 3)] == ["moon.md"]
    (folder / "moon.md").write_text("# Cheese\n\nNow about something else.\n")
    (folder / "new.txt").write_text("Another moon.\n")
    (folder / "sun.txt").unlink()
    assert [passage.document for passage in index.search("moon", 3)] == ["new.txt"]
    assert index.search("sun", 3) == []


def test_what_did_not_change_is_not_read_again(
    index: DocumentIndex, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.search("moon", 3)
    read: list[str] = []

    def reading(path: Path) -> str:
        read.append(path.name)
        return read_document(path)

    monkeypatch.setattr(documents, "read_document", reading)
    (folder / "new.txt").write_text("Another moon.\n")
    other_process = DocumentIndex(folder, tmp_path / "indexes")
    assert len(other_process.search("moon", 3)) == 2
    assert read == ["new.txt"]


def test_links_and_other_files_are_not_documents(index: DocumentIndex, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret moon\n")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "program.py").write_text("moon = 1\n")
    assert [passage.document for passage in index.search("moon", 3)] == ["moon.md"]


def test_every_format_is_read(index: DocumentIndex, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "page.html").write_text(
        "<html><head><title>Stars</title><style>galaxy{}</style></head>"
        "<body><script>galaxy()</script><p>A galaxy &amp; its stars<br>shine</p></body></html>"
    )
    os.link(EXAMPLES / "samples" / "handout.pdf", folder / "handout.pdf")
    assert [passage.document for passage in index.search("accepted task never lost", 3)] == ["handout.pdf"]
    [page] = index.search("galaxy", 3)
    assert page.document == "sub/page.html"
    assert "A galaxy & its stars" in page.text
    assert "galaxy()" not in page.text


def test_a_document_that_cannot_be_read_hides_no_other(index: DocumentIndex, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    (folder / "binary.txt").write_bytes(bytes(range(256)))
    assert [passage.document for passage in index.search("moon", 3)] == ["moon.md"]


def test_a_heading_stays_with_what_it_stands_above() -> None:
    text = "# One\n\nfirst\n\n## Two\n\n### Three\n\nsecond\n\n" + "\n\n".join(["x" * 300] * 4)
    passages = list(split(text))
    assert passages[0] == "# One\n\nfirst"
    assert passages[1].startswith("## Two\n\n### Three\n\nsecond\n\nxxx")
    assert len(passages) == 3
    assert [len(passage) for passage in split("y" * 5000)] == [2000, 2000, 1000]
    assert list(split("")) == []


def test_a_python_without_full_text_search_is_told(index: DocumentIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: _WithoutFts5())
    with pytest.raises(ConfigurationError, match="without FTS5"):
        index.search("moon", 3)


class _WithoutFts5:
    def execute(self, _: str) -> None: ...

    def executescript(self, _: str) -> None:
        raise sqlite3.OperationalError("no such module: fts5")

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ({"Retry-After": "7"}, timedelta(seconds=7)),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}, timedelta(seconds=30)),
        ({"Retry-After": "Wed, 21 Oct 2020 07:28:00 GMT"}, timedelta(0)),
        ({"Retry-After": "99999999999999999999"}, DEFAULT_WAIT),
        ({"Retry-After": "86400"}, MAX_WAIT),
        ({"Retry-After": "-5"}, DEFAULT_WAIT),
        ({"Retry-After": "soon"}, DEFAULT_WAIT),
        ({}, DEFAULT_WAIT),
    ],
    ids=str,
)
def test_a_server_that_says_when_to_come_back_is_believed_within_bounds(said: dict[str, str], wait: timedelta) -> None:
    assert retry_after(said, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == wait


@pytest.mark.parametrize(
    "refused", [{}, {"message": " "}, {"message": "x" * 4001}, {"message": "x", "max_sources": 0}, {"message": 1}]
)
def test_a_payload_that_makes_no_sense_is_refused(refused: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ChatPayload.model_validate(refused)
