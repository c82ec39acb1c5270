# TuneDesk for processors; with --build-arg VARIANT=cuda for NVIDIA GPUs. Both listen to other
# machines, so both want a password first: docker run -it --rm -v tunedesk:/data tunedesk password
FROM python:3.11-slim

# Compiled layers and kernels are made by a C compiler on the machine where they run.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 tunedesk && install --directory --owner tunedesk /data
WORKDIR /app

# Torch from PyPI brings CUDA's libraries, 3 GB that a processor has no use for.
ARG VARIANT=cpu
COPY requirements.txt .
RUN case "$VARIANT" in \
      cpu) pip install --no-cache-dir "$(grep '^torch==' requirements.txt)" \
             --index-url https://download.pytorch.org/whl/cpu ;; \
      cuda) ;; \
      *) echo "VARIANT is cpu or cuda, not $VARIANT" >&2; exit 1 ;; \
    esac && pip install --no-cache-dir -r requirements.txt

COPY LICENSE app.py ./
COPY assets assets
COPY core core
COPY ui ui

ENV TUNEDESK_HOME=/data HF_HOME=/data/huggingface PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /data
EXPOSE 7860
USER tunedesk
HEALTHCHECK --start-period=60s CMD python -c \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/login', timeout=5)"
ENTRYPOINT ["python", "app.py"]
CMD ["--host", "0.0.0.0", "--no-browser"]
