"""`mirnet-deploy export`: a checkpoint becomes ONNX files and a TensorRT plan, each with its proof."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mirnet_deploy.cli.options import console
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import ExportError, MissingDependencyError

if TYPE_CHECKING:
    from mirnet_deploy.artifacts.metadata import Parity
    from mirnet_deploy.export.builder import BuilderLibrary
    from mirnet_deploy.export.pipeline import Exported


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--fp16", is_flag=True, help="Also a half-precision ONNX file, and the plan in half precision.")
@click.option(
    "--interface",
    type=click.Choice(["image", "float"]),
    default="image",
    show_default=True,
    help="image: uint8 [N,H,W,3] in and out. float: float32 [N,3,H,W] in [0, 1], for 16-bit pictures too.",
)
@click.option(
    "--output-dir",
    "-o",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where the files go.  [default: here]",
)
@click.option("--name", default="mirnet", show_default=True, help="Stem of the files.")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@click.option(
    "--tile",
    type=int,
    default=512,
    show_default=True,
    help="Side of the largest picture that the plan takes, and the one it is tuned for; a multiple of 4.",
)
@click.option(
    "--halo",
    type=int,
    help="Pixels that the runtime discards around a tile.  [default: as far as these weights look, measured on the "
    "samples]",
)
@click.option("--batch", type=int, default=1, show_default=True, help="Most tiles that the plan takes at once.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="Folder of pictures to prove the export on.  [default: two crops that ship with mirnet-deploy]",
)
@click.option(
    "--channel-order",
    type=click.Choice(["rgb", "bgr"]),
    default="rgb",
    show_default=True,
    help="Of the colours in and out: bgr for programs that hand over OpenCV's frames.",
)
@click.option("--plain", is_flag=True, help="Take the picture alone: no inputs and output for the means of tiles.")
@click.option("--opset", type=int, default=20, show_default=True, help="ONNX opset, 18 to 23.")
@click.option(
    "--builder",
    type=click.Choice(["auto", "tensorrt", "tensorrt_rtx", "none"]),
    default="auto",
    show_default=True,
    help="Who builds the plan. auto: tensorrt where it is installed and there is a GPU, else tensorrt_rtx.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="SM",
    help="Compute capability that a TensorRT-RTX plan is for: sm75, sm80, sm86, sm89, sm120, sm121; may be given "
    "several times. current: the GPU of this machine.  [default: sm80 sm86 sm89 sm120]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
def command(
    checkpoint: Path, output_dir: Path, samples: Path | None, builder: Any, targets: Sequence[str], **options: Any
) -> None:
    """Turn CHECKPOINT into NAME.onnx and NAME.plan (with --fp16 also NAME.fp16.onnx), each with its proof.

    Averaged (EMA) weights are exported where the checkpoint has them. Every artifact is held against the PyTorch
    network on real crops, its precision is proven node by node, and one that misses its bound is not saved.
    """
    try:
        import onnxruntime  # noqa: F401 (the proof runs in it: better missed now than after a minute of tracing)

        from mirnet_deploy.benchmarks.origin import origin
        from mirnet_deploy.export.pipeline import Outputs, export_checkpoint
        from mirnet_deploy.export.samples import read_crops
        from mirnet_deploy.export.settings import ExportSettings
        from mirnet_deploy.training.checkpoint import load_checkpoint
        from mirnet_deploy.training.reach import derived_halo
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'export needs {error.name}: pip install "mirnet-deploy[export,cpu]"') from error
    given = {name: options[name] for name in ExportSettings.__dataclass_fields__ if options[name] is not None}
    settings = ExportSettings(**given)
    outputs = Outputs.of(output_dir, settings.name, options["fp16"], builder != "none")
    if not options["force"]:
        outputs.refuse_existing()
    library, no_builder = _find_builder(builder, targets)
    made = origin("export") if options["as_json"] else None  # now: the code may be changed while this runs
    loaded = load_checkpoint(checkpoint)
    crops = read_crops(samples)
    if options["halo"] is None:
        with progress_bar("measuring the halo", None):
            settings = replace(settings, halo=derived_halo(loaded.network, crops))
    _make_folder(output_dir)
    said = f"{checkpoint}: {loaded.layout} checkpoint, {loaded.config}, weights: {loaded.taken}"
    click.echo(said, err=options["as_json"])
    exported: list[Exported] = []
    try:
        for artifact in export_checkpoint(loaded, outputs, settings, library, crops, progress_bar):
            exported.append(artifact)
    except OSError as error:
        raise ExportError(f"the export cannot go on: {error}") from error
    finally:
        _show(exported, made)
    if no_builder is not None:
        raise no_builder


def _find_builder(choice: Any, targets: Sequence[str]) -> tuple[BuilderLibrary | None, MissingDependencyError | None]:
    """The builder (None for "none"), and the error to raise at the end, when the ONNX files are written."""
    from mirnet_deploy.export.builder import find_builder

    try:
        return find_builder(choice, targets), None
    except MissingDependencyError as error:
        return None, MissingDependencyError(f"no plan was built, the ONNX files are complete: {error}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{folder} cannot be made: {error.strerror}") from error


def _show(exported: Sequence[Exported], made: Mapping[str, Any] | None) -> None:
    """Prints a table; with `made`, what the JSON says of all artifacts, the JSON."""
    if made is not None:
        click.echo(json.dumps([_row(item, made) for item in exported], indent=2))
        return
    if not exported:
        return
    from rich.table import Table

    table = Table("artifact", "precision", "MB", "max abs", "PSNR", "residual PSNR")
    for item in exported:
        size = f"{item.path.stat().st_size / 1e6:.1f}"
        table.add_row(item.path.name, item.metadata.precision, size, *_figures(item))
    console().print(table)
    for item in exported:
        click.echo(f"{item.path}: {item.metadata.precision_proof}; {_circumstances(item)}")


def _row(item: Exported, made: Mapping[str, Any]) -> dict[str, Any]:
    """An artifact's sidecar as plain values, with its path and size, and `made`."""
    return {"path": str(item.path), "bytes": item.path.stat().st_size, **made, **asdict(item.metadata)}


def _circumstances(item: Exported) -> str:
    parity = item.metadata.parity
    if parity is None or parity.max_abs is None:
        return f"parity {parity.executed if parity else 'not measured'}"
    return f"parity on {parity.crops} crops by {parity.executed}"


def _figures(item: Exported) -> tuple[str, str, str]:
    parity: Parity | None = item.metadata.parity
    if parity is None or parity.max_abs is None or parity.psnr is None or parity.residual_psnr is None:
        return ("not executed", "–", "–")
    image = item.metadata.interface == "image"
    largest = f"{parity.max_abs:.0f}/255" if image else f"{parity.max_abs:.1e}"
    return (largest, f"{parity.psnr:.1f} dB", f"{parity.residual_psnr:.1f} dB")
