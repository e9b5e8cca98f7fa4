"""A task type of your own.

laneway up --import examples.billing
laneway submit billing.invoice '{"customer": "Ada", "cents": 1250}' --wait
"""

from datetime import timedelta

from pydantic import BaseModel, Field

from laneway import Context, Reject, RetryPolicy, task


class Invoice(BaseModel):
    """What to bill to whom."""

    customer: str
    cents: int = Field(gt=0)


@task("billing.invoice", retry=RetryPolicy(max_attempts=5), timeout=timedelta(seconds=30))
async def issue_invoice(payload: Invoice, ctx: Context) -> dict[str, str]:
    """Write an invoice as a text file and answer its reference."""
    if payload.cents > 100_000_00:
        raise Reject("invoices above 100,000.00 are written by hand")
    await ctx.progress(50, "rendering")
    # The same for every run of the task: a crash after this line writes the same number again.
    number = ctx.idempotency_key
    with ctx.files.create(f"invoice-{number}.txt", "text/plain; charset=utf-8") as file:
        file.write(f"Invoice {number}\n{payload.customer}\n{payload.cents / 100:.2f}\n".encode())
    return {"number": number, "ref": file.ref}
