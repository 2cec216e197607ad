FROM python:3.11-slim AS build
RUN pip install --no-cache-dir uv
WORKDIR /srv/newsletter
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
COPY pyproject.toml uv.lock README.md ./
RUN uv sync --locked --no-dev --no-install-project
COPY app app
COPY migrations migrations
COPY alembic.ini ./
RUN uv sync --locked --no-dev

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /srv/newsletter newsletter \
    && install -d -o newsletter -m 700 /var/lib/newsletter
WORKDIR /srv/newsletter
COPY --from=build /srv/newsletter /srv/newsletter
ENV PATH=/srv/newsletter/.venv/bin:$PATH NEWSLETTER_DATA_DIR=/var/lib/newsletter
USER newsletter
VOLUME /var/lib/newsletter
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["newsletter"]
CMD ["serve", "--host", "0.0.0.0"]
