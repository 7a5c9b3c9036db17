"""`mirnet-deploy bench tables`: the tables of Markdown pages, made of stored results."""

from __future__ import annotations

from pathlib import Path

import click

from mirnet_deploy.errors import MirnetDeployError


@click.command("tables")
@click.argument("pages", nargs=-1, required=True, metavar="PAGE.md...", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Write nothing; exit 1 where a table differs from its result.")
def command(pages: tuple[Path, ...], check: bool) -> None:
    """Make the tables of Markdown pages anew, from the JSON that a comment before each of them names.

    `<!-- table: KIND FILE.json … -->` says which figures stand in a table: see docs/BENCH.md. All else in a page stays
    as it is.
    """
    from mirnet_deploy.benchmarks.markdown import make_pages

    failed = tables = 0
    try:
        for path, page in zip(pages, make_pages(pages, write=not check), strict=True):
            wrong = [*page.faults, *(page.differing if check else ())]
            for line in wrong:
                click.echo(line, err=True)
            failed, tables = failed + len(wrong), tables + page.tables
            if page.differing and not check:
                click.echo(f"{path}: {len(page.differing)} of {page.tables} tables made anew")
    except OSError as error:
        raise MirnetDeployError(f"{error.filename or 'a page'} cannot be written: {error.strerror or error}") from error
    if failed:
        faults = f"{failed} fault{'s' * (failed != 1)}"
        raise MirnetDeployError(f"{faults} in the tables of {len(pages)} page{'s' * (len(pages) != 1)}, listed above")
    if not tables:
        raise MirnetDeployError(f"no table of {', '.join(map(str, pages))} is made of a result: see docs/BENCH.md")
    click.echo(f"{tables} tables in {len(pages)} pages are as their results make them")
