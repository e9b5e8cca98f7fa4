from secrets import token_hex

from tests.support.stacks import RunningStack


def test_submit_with_wait_prints_the_outcome_and_the_eml_is_there(stack: RunningStack) -> None:
    subject = f"hello {token_hex(4)}"
    payload = f'{{"to": "ada@example.org", "subject": "{subject}", "text": "Hello"}}'
    done = stack.run("submit", "email", payload, "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    assert "message_id" in done.stdout
    mails = [path.read_text("utf-8") for path in (stack.data_dir / "mail").glob("*.eml")]
    assert [mail for mail in mails if f"Subject: {subject}" in mail]


def test_the_payload_may_come_from_standard_input(stack: RunningStack) -> None:
    payload = '{"to": "ada@example.org", "subject": "s", "text": "t"}'
    done = stack.run("submit", "email", "-", "--priority", "high", "--json", stdin=payload)
    assert done.returncode == 0, done.stderr
    assert '"priority":"high"' in done.stdout


def test_a_refused_payload_is_one_line_and_exit_code_1(stack: RunningStack) -> None:
    done = stack.run("submit", "email", '{"to": 5}')
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("laneway: ")
    assert done.stderr.count("\n") == 1


def test_an_unknown_type_names_the_known_ones(stack: RunningStack) -> None:
    done = stack.run("submit", "emial", "{}")
    assert done.returncode == 1
    assert "email" in done.stderr
