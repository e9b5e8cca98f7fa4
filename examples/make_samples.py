"""Write the binary and tabular samples anew: `python examples/make_samples.py`. The same bytes come out every time."""

import csv
import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from PIL import Image, ImageDraw

SAMPLES = Path(__file__).with_name("samples")

PAGES = (
    (
        "Laneway: a sample document",
        "This file was made for the sample task of the type file.",
        "Its text is taken page by page; this is the first of two.",
        "A task that was accepted is never lost.",
    ),
    (
        "The second page",
        "Every task ends in exactly one of four states:",
        "succeeded, dead_lettered, cancelled or expired.",
    ),
)


def write_sales() -> None:
    """A year of a shop's orders."""
    rng = random.Random(20260101)  # noqa: S311  (sample data)
    prices = {"notebook": "4.90", "pen": "1.20", "lamp": "39.00", "desk": "249.50", "chair": "129.95"}
    with (SAMPLES / "sales.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["order_id", "date", "region", "product", "quantity", "unit_price", "amount"])
        for number in range(1, 361):
            product = rng.choice(list(prices))
            quantity = rng.randint(1, 12)
            amount = quantity * Decimal(prices[product])
            day = date(2025, 1, 1) + timedelta(days=rng.randrange(365))
            region = rng.choice(["north", "east", "south", "west"])
            rows.writerow([f"A{number:05}", day.isoformat(), region, product, quantity, prices[product], amount])


def write_picture() -> None:
    """Three lanes and what travels in them."""
    picture = Image.new("RGB", (640, 360), "#10243e")
    draw = ImageDraw.Draw(picture)
    for lane, (colour, boxes) in enumerate((("#ef6351", 3), ("#f7b267", 5), ("#70a9a1", 8))):
        top = 40 + lane * 100
        draw.rectangle((20, top, 620, top + 70), fill="#1b3a5c")
        for box in range(boxes):
            draw.rounded_rectangle((40 + box * 70, top + 15, 90 + box * 70, top + 55), radius=8, fill=colour)
    picture.save(SAMPLES / "lanes.png", optimize=True)


def write_document() -> None:
    """Two pages of text as a PDF, written by hand: a page is a list of lines."""
    objects: list[bytes] = []
    kids = " ".join(f"{4 + 2 * page} 0 R" for page in range(len(PAGES)))
    objects.append(b"<< /Type /Catalog /Pages 2 0 R >>")
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(PAGES)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for page, lines in enumerate(PAGES):
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        content = f"BT /F1 14 Tf 20 TL 72 760 Td {shown} ET".encode()
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * page} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    document = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(document)
    document += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    document += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    document += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    (SAMPLES / "handout.pdf").write_bytes(document)


if __name__ == "__main__":
    write_sales()
    write_picture()
    write_document()
