"""FP32 islands: the convolutions that stay in float32 in half precision, and how they are read off a proven ONNX file.

Without torch and onnx: a machine that only builds a plan of an ONNX file has neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from mirnet_deploy.artifacts.metadata import ArtifactMetadata, Precision
from mirnet_deploy.artifacts.onnx_graph import convolution_types
from mirnet_deploy.errors import ExportError

FLOAT, HALF = 1, 10
"""`TensorProto.DataType`. Source: onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto."""


@dataclass(frozen=True)
class Islands:
    """The convolutions of a graph by node name: those in the FP32 islands, and all others."""

    inside: frozenset[str]
    outside: frozenset[str]

    def proof(self, precision: Precision) -> str:
        """What a proof of an ONNX graph says, in words."""
        if precision == "fp32":
            return f"{len(self.inside) + len(self.outside)} convolutions compute in FLOAT (ONNX graph)"
        count = len(self.outside)
        return (
            f"{count} of {count} convolutions compute in FLOAT16, "
            f"{len(self.inside)} in the FP32 islands in FLOAT (ONNX graph)"
        )


def proven_islands(data: bytes, metadata: ArtifactMetadata) -> Islands:
    """The islands of an ONNX artifact, by the types that its graph states; for the bytes of the file.

    Its export proved these types with the network at hand, and wrote down what it found: as much must be found again.
    (In FP32 nothing tells islands apart, and nothing has to: all counts as outside.)

    Raises:
        ExportError: the graph states other types than were proven.
    """
    try:
        types = convolution_types(data)
    except (ValueError, KeyError) as error:
        raise ExportError(f"the graph of {metadata.name} cannot be read: {error}") from error
    wide = HALF if metadata.precision == "fp16" else FLOAT
    outside = frozenset(node for node, kind in types.items() if kind == wide)
    inside = frozenset(node for node, kind in types.items() if kind == FLOAT) - outside
    islands = Islands(inside, outside)
    if len(inside) + len(outside) != len(types) or islands.proof(metadata.precision) != metadata.precision_proof:
        raise ExportError(
            f"the graph of {metadata.name} has {islands.proof(metadata.precision)}, and its export proved "
            f"{metadata.precision_proof}: export it again"
        )
    return islands
