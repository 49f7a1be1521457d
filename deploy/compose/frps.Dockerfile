# frps, built from the pinned Go module with the sums of go.sum; the same source that `./run` builds.
FROM golang:1.25-bookworm AS build
WORKDIR /src
COPY deploy/frp/go.mod deploy/frp/go.sum ./
ENV CGO_ENABLED=0 GOBIN=/out GOFLAGS="-mod=readonly -buildvcs=false" GOTOOLCHAIN=local
RUN go install -trimpath -tags=noweb -ldflags="-s -w" tool

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10002 --no-create-home frps \
    && install -d -m 0700 -o frps /var/lib/frps \
    && install -d -o frps /var/lib/frps-ca
COPY --from=build /out/frps /usr/local/bin/frps
COPY deploy/compose/frps.toml /etc/frps.toml
COPY --chmod=0755 deploy/compose/frps-entrypoint /usr/local/bin/frps-entrypoint
USER frps
ENTRYPOINT ["frps-entrypoint"]
