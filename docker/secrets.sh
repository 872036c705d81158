#!/bin/sh
# Random secrets for compose.yaml, one a file, in docker/secrets (not committed). Those that are there stay.
# Only the owner of the folder gets at the files; they are readable for all because a container mounts each by itself, for a user of its own.
set -eu
folder=$(dirname "$0")/secrets
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres_password admin_password session_key; do
  [ ! -s "$folder/$name" ] || continue
  head -c 33 /dev/urandom | base64 | tr '+/' '-_' > "$folder/.$name"
  chmod 644 "$folder/.$name"
  mv "$folder/.$name" "$folder/$name"
done
echo "The account is admin, its password is in $folder/admin_password"
