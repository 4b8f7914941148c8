# An image with vft in it, which serves as server, client or anything else vft can do:
#
#   docker build -t vft .
#   docker run -d --name vft -p 9999:9999 -v "$(pwd)/certs:/certs" -e VFT_SECRET=sharedsecret \
#       vft vft-server --ssl --cert /certs/cert.pem --key /certs/key.pem
#
# The process is user 10001 of group 0, not root. Files that are mounted must be readable by it; a
# key that only its owner may read is served by a container that runs as the owner, with
# `--user "$(id -u)"`. The state folder belongs to the group, so any such user can write to it.
#
# A client is of use where it holds the host's own ports, and those below 1024 take the capability
# CAP_NET_BIND_SERVICE. A container has it as root only, so be root, with no other capability:
#
#   docker run -d --name vft-client --network host -v vft-client:/var/lib/vft \
#       --user 0 --cap-drop ALL --cap-add NET_BIND_SERVICE \
#       -v "$(pwd)/cert.pem:/cert.pem:ro" -e VFT_SECRET=sharedsecret \
#       vft vft-client --server vft.example.net --cert /cert.pem
#
# RUST_IMAGE needs cargo and a C compiler; RUNTIME_IMAGE the C library of RUST_IMAGE or a later
# one, and a shell.
ARG RUST_IMAGE=rust:1-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
RUN cargo build --release --locked --bin vft

FROM ${RUNTIME_IMAGE}
COPY --from=build /build/target/release/vft /usr/local/bin/vft
RUN ln -s vft /usr/local/bin/vft-server \
    && ln -s vft /usr/local/bin/vft-client \
    && install -d -o 10001 -g 0 -m 0770 /var/lib/vft
ENV VFT_STATE_DIR=/var/lib/vft
VOLUME /var/lib/vft
EXPOSE 9999
USER 10001:0
ENTRYPOINT ["vft"]
