#!/usr/bin/env bash
# Makes the certificates of the TLS test again: an authority, and a server's certificate
# for localhost that it signs. They protect nothing, so the key is public. The authority's
# key is not kept.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
days=36500
openssl ecparam -name prime256v1 -genkey -noout -out "$dir/ca.key"
openssl req -x509 -new -key "$dir/ca.key" -days $days -subj "/CN=l4sllm test authority" \
    -addext "basicConstraints=critical,CA:TRUE" -out ca.pem
openssl ecparam -name prime256v1 -genkey -noout -out "$dir/server.key"
openssl pkcs8 -topk8 -nocrypt -in "$dir/server.key" -out key.pem
openssl req -new -key "$dir/server.key" -subj "/CN=localhost" -out "$dir/server.csr"
openssl x509 -req -in "$dir/server.csr" -CA ca.pem -CAkey "$dir/ca.key" -set_serial 1 \
    -days $days -extfile <(printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n') \
    -out cert.pem
