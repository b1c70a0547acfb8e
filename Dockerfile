# The node in a container. docs/operations.md, "In a container", says how to run it.
# Only what the build needs is copied, never `.`: a working copy may hold keys and node folders.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY proto proto
COPY node-template node-template
COPY simulator simulator
COPY xtask xtask
RUN cargo build --release --locked -p meshpool

FROM debian:bookworm-slim
# The empty list of known peers is what a new volume starts with; PEERS names others.
RUN useradd --system --uid 1000 --user-group --no-create-home p2p \
 && mkdir /node && echo '[]' > /node/known-peers.json && chown -R p2p:p2p /node
COPY --from=build /src/target/release/meshpool /usr/local/bin/meshpool
COPY packaging/healthcheck.sh /usr/local/bin/healthcheck
# Loopback is the container's own: the peers' port listens on all its interfaces. The page stays on
# loopback, for the health check; HTTP_HOST and HTTP_TOKEN open it.
ENV HOST=0.0.0.0 PORT=4001 HTTP_PORT=8001
USER p2p
WORKDIR /node
VOLUME /node
EXPOSE 4001 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["bash", "/usr/local/bin/healthcheck"]
ENTRYPOINT ["meshpool"]
