"""A folder of documents, searchable: SQLite's full-text index beside it, brought up to date before each search."""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from schemas.errors import ConfigurationError

MAX_DOCUMENTS: Final = 5_000
MAX_DOCUMENT_BYTES: Final = 20 * 1024 * 1024
PASSAGE_CHARACTERS: Final = 700
"""A passage is closed by the paragraph that takes it past this."""
MAX_PASSAGE_CHARACTERS: Final = 2_000
"""A longer paragraph, such as a page without a break, is cut."""

_SUFFIXES: Final = frozenset({".txt", ".md", ".html", ".htm", ".pdf"})
_MAX_TERMS: Final = 24
_WORD: Final = re.compile(r"\w+")
# Words that every passage has and no question is about.
_STOP_WORD: Final = re.compile(
    r"a|about|all|an|and|any|are|as|at|be|been|but|by|can|could|did|do|does|for|from|get|had|has|have|how|"
    r"i|if|in|into|is|it|its|me|my|of|on|or|our|s|should|so|t|tell|than|that|the|their|them|then|there|"
    r"these|they|this|to|us|was|we|were|what|when|where|which|who|whom|whose|why|will|with|would|you|your"
)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, modified_ns INTEGER NOT NULL, size INTEGER NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS passages USING fts5 (
    body, document UNINDEXED, tokenize = 'porter unicode61 remove_diacritics 2'
);
"""

_log: Final[structlog.typing.FilteringBoundLogger] = structlog.get_logger(__name__)


class Passage(NamedTuple):
    """A piece of a document that was found."""

    document: str
    text: str
    score: float


class DocumentIndex:
    """The passages of one folder. Several processes may hold the same index; each search opens it anew.

    Blocking: every method reads and writes files.

    Raises:
        ConfigurationError: this Python's SQLite has no full-text search.
    """

    def __init__(self, folder: Path, indexes: Path) -> None:
        self._folder = folder
        self._file = indexes / f"{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}.sqlite"

    def search(self, question: str, limit: int) -> list[Passage]:
        """The passages that have most to do with ``question``, best first.

        A passage counts only if it has at least half of the question's words: one chance hit is no answer.
        """
        terms = question_terms(question)
        with closing(self._open()) as connection:
            self._refresh(connection)
            if not terms:
                return []
            found = connection.execute(
                "SELECT rowid, document, body, -bm25(passages) FROM passages WHERE passages MATCH ?"
                " ORDER BY bm25(passages), rowid LIMIT ?",
                (" OR ".join(map(fts_quote, terms)), limit * 4),
            ).fetchall()
            passages = [
                Passage(document, text, round(score, 4))
                for row, document, text, score in found
                if 2 * self._matched(connection, row, terms) >= len(terms)
            ]
        return passages[:limit]

    def _matched(self, connection: sqlite3.Connection, row: int, terms: list[str]) -> int:
        query = "SELECT 1 FROM passages WHERE rowid = ? AND passages MATCH ?"
        return sum(connection.execute(query, (row, fts_quote(term))).fetchone() is not None for term in terms)

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Autocommit: transactions are begun by hand, as IMMEDIATE ones. The time-out covers another process's refresh.
        connection = sqlite3.connect(self._file, timeout=60, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            connection.close()
            if "no such module: fts5" in str(error):
                raise ConfigurationError(
                    "the type chat",
                    f"SQLite {sqlite3.sqlite_version} without FTS5",
                    "a Python whose sqlite3 module has full-text search (the builds of python.org have it)",
                ) from error
            raise
        return connection

    def _refresh(self, connection: sqlite3.Connection) -> None:
        """Take in what changed in the folder since the index was last used."""
        present = dict(self._scan())
        if present == self._known(connection):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            known = self._known(connection)  # again: another process may have been faster
            for path in known.keys() - present.keys():
                self._forget(connection, path)
            for path, (modified_ns, size) in present.items():
                if known.get(path) != (modified_ns, size):
                    self._forget(connection, path)
                    connection.execute(
                        "INSERT INTO documents (path, modified_ns, size) VALUES (?, ?, ?)", (path, modified_ns, size)
                    )
                    connection.executemany(
                        "INSERT INTO passages (document, body) VALUES (?, ?)",
                        ((path, passage) for passage in split(read_document(self._folder / path))),
                    )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _scan(self) -> Iterator[tuple[str, tuple[int, int]]]:
        if not self._folder.is_dir():
            return
        taken = 0
        for path in sorted(self._folder.rglob("*")):
            if path.suffix.lower() not in _SUFFIXES or path.is_symlink() or not path.is_file():
                continue
            facts = path.stat()
            if facts.st_size > MAX_DOCUMENT_BYTES:
                continue
            taken += 1
            if taken > MAX_DOCUMENTS:
                _log.warning("more documents than are searched", folder=str(self._folder), searched=MAX_DOCUMENTS)
                return
            yield path.relative_to(self._folder).as_posix(), (facts.st_mtime_ns, facts.st_size)

    @staticmethod
    def _known(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
        rows = connection.execute("SELECT path, modified_ns, size FROM documents")
        return {path: (modified_ns, size) for path, modified_ns, size in rows}

    @staticmethod
    def _forget(connection: sqlite3.Connection, path: str) -> None:
        connection.execute("DELETE FROM documents WHERE path = ?", (path,))
        connection.execute("DELETE FROM passages WHERE document = ?", (path,))


def question_terms(question: str) -> list[str]:
    """The words that a question is about, each once."""
    words = [word.casefold() for word in _WORD.findall(question)]
    meant = [word for word in words if not _STOP_WORD.fullmatch(word)]
    return list(dict.fromkeys(meant))[:_MAX_TERMS]


def fts_quote(term: str) -> str:
    """``term`` as a string of FTS5's query language, in which nothing is an operator."""
    return '"' + term.replace('"', '""').replace("\x00", "") + '"'


def read_document(path: Path) -> str:
    """Text of a document; empty for one that cannot be read, which is logged once for each version of it."""
    try:
        match path.suffix.lower():
            case ".pdf":
                return _pdf_text(path)
            case ".html" | ".htm":
                parser = _HtmlText()
                parser.feed(path.read_text("utf-8", "replace"))
                parser.close()
                return parser.text
            case _:
                return path.read_text("utf-8", "replace").replace("\x00", "")
    except (OSError, ValueError, RecursionError, AssertionError) as error:
        _log.warning("document cannot be read", document=str(path), error=str(error))
        return ""


def _pdf_text(path: Path) -> str:
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        text = "\n\n".join(page.extract_text() for page in PdfReader(path).pages)
    except (PyPdfError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"broken PDF: {error}") from error
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


class _HtmlText(HTMLParser):
    _BLOCK: Final = re.compile(
        r"address|article|aside|blockquote|br|dd|div|dl|dt|footer|h[1-6]|header|hr|li|main|nav|ol|p|pre|"
        r"section|table|td|th|title|tr|ul"
    )
    _SILENT: Final = frozenset({"script", "style", "template", "noscript"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._silenced = 0

    @property
    def text(self) -> str:
        lines = "".join(self._parts).splitlines()
        return "\n".join(" ".join(line.split()) for line in lines)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silenced += tag in self._SILENT
        if self._BLOCK.fullmatch(tag):
            self._parts.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        self._silenced -= tag in self._SILENT and self._silenced > 0
        if self._BLOCK.fullmatch(tag):
            self._parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._silenced:
            self._parts.append(data)


def split(text: str) -> Iterator[str]:
    """Passages of a text: paragraphs together up to a good length, a Markdown heading with what it stands above."""
    passage: list[str] = []
    length = 0
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = paragraph.strip()
        starts_section = re.match(r"#{1,6} ", paragraph) is not None
        has_body = any(not re.match(r"#{1,6} .*$", part) for part in passage)
        if passage and ((starts_section and has_body) or length > PASSAGE_CHARACTERS):
            yield "\n\n".join(passage)
            passage, length = [], 0
        for start in range(0, len(paragraph), MAX_PASSAGE_CHARACTERS):
            passage.append(paragraph[start : start + MAX_PASSAGE_CHARACTERS])
            length += len(passage[-1])
            if length >= MAX_PASSAGE_CHARACTERS:
                yield "\n\n".join(passage)
                passage, length = [], 0
    if passage:
        yield "\n\n".join(passage)
