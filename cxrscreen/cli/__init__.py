"""The front door: `cxrscreen COMMAND`. Nobody imports this package; it may import everybody."""

from __future__ import annotations

import sys

import click

import cxrscreen
from cxrscreen.cli.later import Door, Place
from cxrscreen.errors import CxrscreenError

PLACES = {
    "archive": Place("cxrscreen.cli.keeping", "archive_group", "Look after the store: check it, delete a study."),
    "db": Place("cxrscreen.cli.database", "db_group", "Upgrade, check, back up and restore the database."),
    "demo": Place("cxrscreen.cli.demo", "demo", "See it work in minutes, on synthetic pictures."),
    "doctor": Place("cxrscreen.cli.serve", "doctor", "Look at what a run needs, and say what to mend."),
    "evaluate": Place("cxrscreen.cli.evaluate", "evaluate", "Measure a bundle on the test split of INDEX."),
    "holdout": Place("cxrscreen.cli.evaluate", "holdout", "Train without each source in turn, measure on it."),
    "index": Place("cxrscreen.cli.index", "index", "Turn data sets into one INDEX to train on."),
    "job": Place("cxrscreen.cli.jobs", "job", "Show a job, or cancel, pause, resume, retry or clear it."),
    "jobs": Place("cxrscreen.cli.jobs", "jobs_table", "List the latest jobs, and what became of their files."),
    "models": Place("cxrscreen.cli.manage", "models_group", "List, compare, activate and roll back model versions."),
    "pretrain": Place("cxrscreen.cli.learn", "pretrain", "Learn from pictures without labels, for `train`."),
    "rescreen": Place("cxrscreen.cli.archive", "rescreen", "Screen the archive again with another model."),
    "schedules": Place("cxrscreen.cli.schedules", "schedules_group", "When the archive is read again, night by night."),
    "screen": Place("cxrscreen.cli.archive", "screen", "Screen folders, archives, files and s3:// prefixes."),
    "study": Place("cxrscreen.cli.study", "study_group", "Experiments of many trainings, each one table."),
    "train": Place("cxrscreen.cli.learn", "train", "Train a model (DeTraC) on INDEX and write its bundle."),
    "up": Place("cxrscreen.cli.serve", "up", "Run the dashboard and its workers on this machine."),
    "users": Place("cxrscreen.cli.manage", "users_group", "List and add people, change roles and passwords."),
}


@click.group(
    cls=Door, places=PLACES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(cxrscreen.__version__, prog_name="cxrscreen")
def cli() -> None:
    """Screen archives of chest X-rays with a decomposition-transfer classifier.

    Begin with `cxrscreen demo`, with `cxrscreen screen FOLDER`, or with `cxrscreen up` for the dashboard. Files are
    kept under CXRSCREEN_DATA_DIR (default var/). Exit status: 0 everything is accounted for, 1 something failed, 2 the
    request was wrong. Decision support for research and triage; not a medical device.
    """


def main() -> None:
    """Run a command; an error that a person can act on is one line, never a traceback."""
    try:
        # Out of its own mode click raises what we put into words, and answers the status that a command left with.
        sys.exit(cli(prog_name="cxrscreen", standalone_mode=False) or 0)
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
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"cxrscreen: {where}{error.strerror or error}", err=True)
        sys.exit(1)
    except Exception as error:
        if (said := _of_database(error)) is None:
            raise
        click.echo(f"cxrscreen: the database says: {said}", err=True)
        sys.exit(1)


def _of_database(error: Exception) -> str | None:
    from sqlalchemy.exc import DBAPIError  # whoever has such an error has imported it

    return str(error.orig).strip().splitlines()[0] if isinstance(error, DBAPIError) else None
