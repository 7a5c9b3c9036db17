"""`mirnet-deploy export`: a checkpoint becomes ONNX files and a TensorRT plan, each with its proof."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from mirnet_deploy.cli.export_shared import described, make_folder, show, with_halo
from mirnet_deploy.cli.progress import progress_bar
from mirnet_deploy.errors import ExportError, MissingDependencyError, UsageError

if TYPE_CHECKING:
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
@click.option(
    "--fleet",
    metavar="SM,SM,…",
    help="Make --output-dir a fleet: a plan for each of these targets, and a manifest by which the runtime takes the "
    "one that fits its GPU. Run again to add more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was made as JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    checkpoint: Path,
    output_dir: Path,
    samples: Path | None,
    builder: Any,
    targets: Sequence[str],
    fleet: str | None,
    **options: Any,
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
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f'export needs {error.name}: pip install "mirnet-deploy[export,cpu]"') from error
    given = {name: options[name] for name in ExportSettings.__dataclass_fields__ if options[name] is not None}
    settings = ExportSettings(**given)
    if fleet is not None:
        from mirnet_deploy.cli.export_fleet import export_fleet

        if targets:
            raise UsageError("--fleet names the targets itself, each for a plan of its own; leave --target out")
        asked = {name: value for name, value in given.items() if _is_asked(context, name)}
        export_fleet(checkpoint, output_dir, samples, builder, fleet, settings, asked, options)
        return
    outputs = Outputs.of(output_dir, settings.name, options["fp16"], builder != "none")
    if not options["force"]:
        outputs.refuse_existing()
    library, no_builder = _find_builder(builder, targets)
    made = origin("export") if options["as_json"] else None  # now: the code may be changed while this runs
    loaded = load_checkpoint(checkpoint)
    crops = read_crops(samples)
    if options["halo"] is None:
        settings = with_halo(settings, loaded, crops)
    make_folder(output_dir)
    click.echo(described(checkpoint, loaded), err=options["as_json"])
    exported: list[Exported] = []
    try:
        for artifact in export_checkpoint(loaded, outputs, settings, library, crops, progress_bar):
            exported.append(artifact)
    except OSError as error:
        raise ExportError(f"the export cannot go on: {error}") from error
    finally:
        show(exported, made)
    if no_builder is not None:
        raise no_builder


def _find_builder(choice: Any, targets: Sequence[str]) -> tuple[BuilderLibrary | None, MissingDependencyError | None]:
    """The builder (None for "none"), and the error to raise at the end, when the ONNX files are written."""
    from mirnet_deploy.export.builder import find_builder

    try:
        return find_builder(choice, targets), None
    except MissingDependencyError as error:
        return None, MissingDependencyError(f"no plan was built, the ONNX files are complete: {error}")


def _is_asked(context: click.Context, name: str) -> bool:
    """Whether the user gave the option of that parameter."""
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE
