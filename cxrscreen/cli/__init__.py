"""The front door: `cxrscreen COMMAND`. Nobody imports this package; it may import everybody."""

from __future__ import annotations

import sys

import click
from sqlalchemy.exc import DBAPIError

import cxrscreen
from cxrscreen.cli import archive, demo, evaluate, index, keeping, learn, manage, schedules, serve, study
from cxrscreen.errors import CxrscreenError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(cxrscreen.__version__, prog_name="cxrscreen")
def cli() -> None:
    """Screen archives of chest X-rays with a decomposition-transfer classifier.

    Begin with `cxrscreen demo`, with `cxrscreen screen FOLDER`, or with `cxrscreen up` for the dashboard. Files are
    kept under CXRSCREEN_DATA_DIR (default var/). Exit status: 0 everything is accounted for, 1 something failed, 2 the
    request was wrong. Decision support for research and triage; not a medical device.
    """


for command in (
    demo.demo,
    serve.up,
    archive.screen,
    archive.rescreen,
    archive.jobs_table,
    archive.job,
    keeping.archive_group,
    index.index,
    learn.pretrain,
    learn.train,
    evaluate.evaluate,
    evaluate.holdout,
    study.study_group,
    manage.models_group,
    schedules.schedules_group,
    manage.users_group,
    manage.db_group,
    serve.doctor,
):
    cli.add_command(command)


def main() -> None:
    """Run a command; an error that a person can act on is one line, never a traceback."""
    try:
        # Out of its own mode click raises what we put into words, and answers the status that a command left with.
        sys.exit(cli(standalone_mode=False) or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        told = f" See `{context.command_path} --help`." if context else ""
        click.echo(f"cxrscreen: {error.format_message()}{told}", err=True)
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except CxrscreenError as error:
        click.echo(f"cxrscreen: {error}", err=True)
        sys.exit(error.exit_status)
    except DBAPIError as error:
        click.echo(f"cxrscreen: the database says: {str(error.orig).strip().splitlines()[0]}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"cxrscreen: {where}{error.strerror or error}", err=True)
        sys.exit(1)
