"""Takes features from the bundle that this script lies in. Paste from it what you need.

    pip install cuda-python numpy pillow
    python example.py photo.jpg      # the shape of each output, and its length
    python example.py --check        # the golden images must give the golden features here too

TensorRT itself comes with JetPack, elsewhere from pip: tensorrt. It runs an engine that
`edgeresnet build BUNDLE` has made on this device, beside which a record says what it is for.

Change a copy: the bundle knows every one of its files by its hash.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from platform import machine
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

try:
    import tensorrt as trt
except ImportError:
    import tensorrt_rtx_bindings as trt
try:
    from cuda.bindings import runtime as cuda
except ImportError:
    from cuda import cudart as cuda  # cuda-python before 12.6

BUNDLE = Path(__file__).resolve().parent
MANIFEST: dict[str, Any] = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))
# A DLA takes float models only. The first is the default.
DEVICES = {"gpu": None, "dla0": 0, "dla1": 1}

Run = Callable[[NDArray[Any]], dict[str, NDArray[np.float32]]]


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a call of CUDA's, whose first value says whether it has worked."""
    error, *values = result
    if int(error) != 0:
        raise RuntimeError(f"CUDA: {error}")
    return values[0] if values else None


def misfit(engine_path: Path, device: str) -> str | None:
    """Why an engine is not for this device; None if it is. Engines are code."""
    try:
        record = json.loads(Path(f"{engine_path}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "nothing says where it comes from"
    host, version = record["host"], re.findall(r"\d+", trt.__version__)[:3]
    product = "tensorrt-rtx" if trt.__name__ == "tensorrt_rtx_bindings" else "tensorrt"
    if (record["device"], host["product"], host["machine"]) != (device, product, machine()):
        return f"it is for {record['device']} and {host['product']} on {host['machine']}"
    if record["engine_sha256"] != hashlib.sha256(engine_path.read_bytes()).hexdigest():
        return "it is not what was built (its sha256 differs)"
    if record["model_sha256"] != MANIFEST["files"][MANIFEST["model"]]:
        return "it was built from another model"
    same_major = record["version_compatible"] and host["version"].split(".")[0] == version[0]
    if not same_major and host["version"] != ".".join(version):
        return f"it was built by TensorRT {host['version']}"
    gpu = checked(cuda.cudaGetDeviceProperties(0))
    # Built for every GPU from Ampere on, or for one like this.
    built = host["compute_capability"]
    if not record["hardware_compatible"] and built != f"{gpu.major}.{gpu.minor}":
        return f"it was built for compute capability {built}"
    return None


def load_engine(device: str) -> Any:
    """The bundle's engine for this device; ends the program if there is none."""
    reasons = []
    for path in sorted((BUNDLE / "engines").glob("*.engine")):
        if reason := misfit(path, device):
            reasons.append(f"{path.name}: {reason}")
            continue
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        if json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))["version_compatible"]:
            runtime.engine_host_code_allowed = True
        if device != "gpu":
            runtime.DLA_core = DEVICES[device]
        return runtime.deserialize_cuda_engine(path.read_bytes())
    why = "; ".join(reasons) or "there is none"
    sys.exit(f"no engine fits ({why}); build one here: edgeresnet build {BUNDLE} --device {device}")


def open_model(device: str) -> Run:
    """Load the engine; what is returned takes one batch and gives each output by its name."""
    engine = load_engine(device)
    context = engine.create_execution_context()
    stream = checked(cuda.cudaStreamCreate())
    # Memory for one batch of the size that is run, on both sides; kept until the program ends.
    here: dict[str, NDArray[Any]] = {}
    there: dict[str, int] = {}
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        shape = (MANIFEST["batch"]["smallest"], *tuple(engine.get_tensor_shape(name))[1:])
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            given = name
            if not context.set_input_shape(name, shape):
                raise RuntimeError(f"TensorRT does not take inputs of shape {shape}")
        here[name] = np.empty(shape, trt.nptype(engine.get_tensor_dtype(name)))
        there[name] = int(checked(cuda.cudaMalloc(here[name].nbytes)))
        context.set_tensor_address(name, there[name])
    outputs = [name for name in here if name != given]
    to_device = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
    to_host = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost

    def copy(to: int, source: int, size: int, kind: Any) -> None:
        checked(cuda.cudaMemcpyAsync(to, source, size, kind, stream))

    def run(batch: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        images = here[given]
        np.copyto(images, batch, casting="same_kind")
        # All on one stream: each step waits for the one before it.
        copy(there[given], images.ctypes.data, images.nbytes, to_device)
        if not context.execute_async_v3(int(stream)):
            raise RuntimeError("TensorRT does not run the engine")
        for name in outputs:
            copy(here[name].ctypes.data, there[name], here[name].nbytes, to_host)
        checked(cuda.cudaStreamSynchronize(stream))
        return {name: here[name].astype(np.float32) for name in outputs}

    return run


# From here on the examples of all targets are the same.


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any kind upright, in 8-bit RGB, with transparent pixels on black."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floats of unknown range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits: the high byte
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its pixels are 32-bit numbers; save it with 8 or 16 bits")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = image.mode == "P" and "transparency" in image.info
    if transparent or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return image.convert("RGB")


def to_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """An image as the network saw its training images: (size, size, 3) uint8."""
    spec = MANIFEST["input_spec"]
    side = size = spec["image_size"]
    resize, crop_ratio = spec.get("resize"), spec.get("crop_ratio")
    filtered = Image.Resampling[spec.get("interpolation", "bilinear").upper()]
    image = to_rgb(image)
    if spec.get("channels") == "gray":
        image = image.convert("L").convert("RGB")
    if crop_ratio is not None:
        side = int(size / crop_ratio)
    elif resize is None and size >= 128:
        side = round(size * 256 / 224)
    elif resize is None:
        resize = "squash"  # Small images have no border to lose.
    width = height = side
    if resize != "squash":
        shorter = side if resize is None else resize
        width, height = (shorter * side // min(image.size) for side in image.size)
    spare = (width - size, height - size)
    down = spec.get("crop_rounding") == "down"
    left, top = (n // 2 if down else round(n / 2) for n in spare)
    box = (left, top, left + size, top + size)
    if width * height > 1 << 26:  # A strip of 1 x 60000 is not made whole.
        scale = image.width / width, image.height / height
        part = tuple(side * scale[i % 2] for i, side in enumerate(box))
        image = image.resize((size, size), filtered, box=part)
    else:
        image = image.resize((width, height), filtered).crop(box)
    pixels = np.array(image)
    return np.ascontiguousarray(pixels[..., ::-1]) if spec.get("channels") == "bgr" else pixels


def to_input(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Pixels (n, size, size, 3) as the model takes them: normalized float32 (n, 3, size, size)."""
    if MANIFEST["embed_preprocess"]:
        return pixels  # The model normalizes by itself.
    mean = np.array(MANIFEST["input_spec"]["mean"])
    std = np.array(MANIFEST["input_spec"]["std"])
    scale, offset = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
    return np.ascontiguousarray((pixels * scale + offset).transpose(0, 3, 1, 2))


def features_of(run: Run, inputs: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Every output of any number of inputs, by its name, in batches of the smallest size."""
    size = MANIFEST["batch"]["smallest"]
    # The last batch is filled up with its last input: a model may take batches of 4 only.
    missing = -len(inputs) % size
    filled = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)])
    parts = [run(filled[start : start + size]) for start in range(0, len(filled), size)]
    return {name: np.concatenate([p[name] for p in parts])[: len(inputs)] for name in parts[0]}


def formats() -> list[str]:
    """The formats that edgeresnet reads, as far as this Pillow knows them."""
    Image.init()
    names = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
    return [name for name in names if name in Image.OPEN]


def show(run: Run, path: Path) -> int:
    """Print what an image file gives; exit code 2 if that cannot be read."""
    try:
        if not path.is_file():  # A pipe would wait for its writer.
            raise OSError("no such file, or no regular one")
        with Image.open(path, formats=formats()) as image:
            pixels = to_pixels(image)
    # Pillow raises whatever its decoders run into.
    except Exception as error:
        cause = (str(error) or type(error).__name__).splitlines()[0]
        print(f"{path} is no image that can be read: {cause}", file=sys.stderr)
        return 2
    # C2 to C5 are (1, channels, H, W), the embedding pool (1, channels), logits (1, classes).
    features = features_of(run, to_input(pixels[None]))
    for name, value in features.items():
        norm = float(np.linalg.norm(value))
        print(f"{path}: {name} {value.shape[1:]} {value.dtype}, length {norm:.4g}")
    if "logits" in features:
        print(f"{path}: {MANIFEST['classes'][int(features['logits'].argmax())]}")
    return 0


def damaged_files() -> list[str]:
    """Files that are missing or not what was exported; engines may be removed or built anew."""
    damaged = []
    for name, sha256 in MANIFEST["files"].items():
        path = BUNDLE / name
        if name.startswith("engines/") or name == Path(__file__).name:
            continue
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            damaged.append(name)
    return damaged


def compared(value: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of an output (n, channels, H, W) what the golden file has: up to 16 places of a channel."""
    flat = value.reshape(len(value), value.shape[1], -1)
    places = np.unique(np.linspace(0, flat.shape[2] - 1, 16).astype(np.int64))
    return flat[..., places].reshape(len(value), -1)


def check(run: Run) -> bool:
    """Whether the golden images give the golden features, within their bounds."""
    with np.load(BUNDLE / "golden.npz") as golden:
        images, wanted, bounds = (golden[name] for name in ("images", "features", "bounds"))
    found, start, good = features_of(run, to_input(images)), 0, True
    # Integer kernels round some values further away.
    integer = MANIFEST["precision"].startswith(("int8", "w8a16"))
    for name in (one["name"] for one in MANIFEST["outputs"] if one["name"] != "logits"):
        values = compared(found[name])
        part = slice(start, start + values.shape[1])
        start = part.stop
        difference = np.abs(values - wanted[:, part])
        outside = ~(difference <= bounds[0, part])  # NaN too
        allowed = max(0.02, min(1 / len(images), 0.05)) if integer else 0.0
        right = bool(outside.mean() <= allowed)
        good = good and right
        print(
            f"{name}: up to {difference.max():.3g} from the golden values, {outside.mean():.2%} "
            f"outside of their bounds, {allowed:.0%} may be: {'good' if right else 'NOT good'}"
        )
    return good


def main() -> int:
    """Exit code 0; 1 if the bundle is damaged or does not give what it must; 2: no image."""
    parser = argparse.ArgumentParser(description="Take features from this bundle.")
    parser.add_argument("images", nargs="*", type=Path, help="image files")
    parser.add_argument("--check", action="store_true", help="compare with the golden features")
    parser.add_argument("--device", choices=[*DEVICES], default=next(iter(DEVICES)))
    arguments = parser.parse_args()
    if damaged := damaged_files():
        print(f"damaged: {', '.join(damaged)}; copy the bundle again", file=sys.stderr)
        return 1
    run = open_model(arguments.device)
    if code := max((show(run, path) for path in arguments.images), default=0):
        return code
    if arguments.images and not arguments.check:
        return 0
    return 0 if check(run) else 1


if __name__ == "__main__":
    sys.exit(main())
