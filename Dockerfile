# One process of countersign over a Kafka and a ClickHouse of your own (docker-compose.yml). The embedded engine is not in
# the image: serve needs --kafka and --clickhouse, or COUNTERSIGN_KAFKA and COUNTERSIGN_CLICKHOUSE.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# What `countersign version` says; the repository is not in the build's context. `make image` fills them in.
ARG VERSION
ARG COMMIT
ARG DATE
# Without cgo; the binary still needs glibc, which loading the embedded engine would take.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false \
    -ldflags "-X main.version=${VERSION} -X main.commit=${COMMIT} -X main.date=${DATE}" \
    -o /countersign ./cmd/countersign

FROM debian:bookworm-slim
# The roots that sites' certificates are validated against, and curl for the health check.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin countersign
COPY --from=build /countersign /usr/local/bin/countersign
USER 10001
# The admin listener stays on the container's loopback, where the health check asks it. docs/operating.md, "Monitoring",
# says how Prometheus gets to it.
ENV COUNTERSIGN_LOG_FORMAT=json
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:9090/readyz"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["countersign"]
CMD ["serve"]
