import sys

import click

DONE = 0
FAILED = 1
WRONG_USE = 2


def exit_code_of(command: click.Command, arguments: list[str] | None) -> int:
    """Run a command, and tell whatever goes wrong in one line on standard error: never a traceback for what we expect.

    Returns:
        0 done, 1 failed, 2 wrong use or configuration.
    """
    try:
        code = command.main(args=arguments, prog_name="laneway", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return WRONG_USE
    except click.UsageError as error:
        where = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        return _tell(f"{error.format_message()}{where}", WRONG_USE)
    except click.ClickException as error:
        return _tell(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _tell("interrupted", FAILED)
    except Exception as error:
        told = _expected(error)
        if told is None:
            raise
        return _tell(*told)
    return code if isinstance(code, int) else DONE


def _expected(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code for an error that is no bug of ours; ``None`` for one that is."""
    from schemas.errors import ConfigurationError, LanewayError

    if isinstance(error, ConfigurationError):
        return str(error), error.exit_code
    if isinstance(error, LanewayError | TimeoutError):
        return str(error), FAILED
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", FAILED
    if "httpx" in sys.modules:
        import httpx

        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            return f"the API could not be asked: {str(error) or type(error).__name__}", FAILED
    return None


def _tell(line: str, code: int) -> int:
    click.echo(f"laneway: {line}", err=True)
    return code
