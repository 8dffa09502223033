#!/bin/sh
# Makes the passwords and keys of the stack, each in a file of its own; what is there already stays.
#
#   deploy/compose/secrets.sh [FOLDER]          (default: secrets beside this file, or $SECRETS)
#
# The folder is closed to everybody but you. The files in it can be read by all, because Docker shows a container the
# file with the owner and mode that it has here, and the containers run as users of their own.
# To change one: delete its file (and redis_users.acl for a password of Redis, s3_identities.json for a key of SeaweedFS),
# then `make down` and `make up`: a container reads its secrets when it starts, and `make up` alone starts none that runs.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
# of_env NAME: what .env says, as docker compose reads it.
of_env() { sed -n "s/^$1=//p" "$here/.env" 2>/dev/null | tail -n 1 | tr -d "\"'" || :; }

secrets=${SECRETS:-$(of_env SECRETS)}
case ${secrets:=secrets} in
/*) ;;
*) secrets=$here/$secrets ;;
esac
folder=${1:-$secrets}
again=
if [ -d "$folder" ]; then again=" (a container that runs keeps the one before: make down, then make up)"; fi
umask 077
mkdir -p "$folder"
chmod 700 "$folder"
umask 022

new_secret() { od -An -N20 -tx1 /dev/urandom | tr -d ' \n'; }

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1
}

# write NAME: standard input becomes the file, at once or not at all.
write() {
    mkdir -p "$folder/$(dirname "$1")"
    cat >"$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
    echo "made $folder/$1$again"
}

missing() { [ ! -s "$folder/$1" ]; }
make_secret() { if missing "$1"; then new_secret | write "$1"; fi; }
make_name() { if missing "$1"; then printf %s "$2" | write "$1"; fi; }
copy() { if missing "$2"; then write "$2" <"$folder/$1"; fi; }

for user in ingestor writer featurizer operator; do
    make_secret "redis_$user"
done
if missing redis_users.acl || [ "$here/redis/users.acl" -nt "$folder/redis_users.acl" ]; then
    # Redis takes no comments in this file.
    rules=$(grep -v '^#' "$here/redis/users.acl")
    for user in ingestor writer featurizer operator; do
        hash=$(tr -d '\n' <"$folder/redis_$user" | sha256)
        rules=$(printf '%s\n' "$rules" | sed "s/@redis_$user@/$hash/")
    done
    printf '%s\n' "$rules" | write redis_users.acl
fi

make_name s3_root_user daedalus-root
make_secret s3_root_password
for role in writer compactor reader; do
    make_name "per-service/${role}_access_key" "daedalus-$role"
    make_secret "per-service/${role}_secret_key"
    # For servers on which no user can be made: OBJECT_STORE_KEYS=shared.
    copy s3_root_user "shared/${role}_access_key"
    copy s3_root_password "shared/${role}_secret_key"
done

# identity NAME ACCESS_FILE SECRET_FILE ACTIONS: one entry for SeaweedFS.
identity() {
    printf '  {"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": [%s]}' \
        "$1" "$(cat "$folder/$2")" "$(cat "$folder/$3")" "$4"
}
bucket=${S3_BUCKET:-$(of_env S3_BUCKET)}
bucket=${bucket:-daedalus}
if missing s3_identities.json || ! grep -qF "\"Read:$bucket\"" "$folder/s3_identities.json"; then
    {
        printf '{"identities": [\n'
        identity root s3_root_user s3_root_password '"Admin"'
        printf ',\n'
        identity writer per-service/writer_access_key per-service/writer_secret_key \
            "\"Read:$bucket\", \"List:$bucket\", \"Write:$bucket\""
        printf ',\n'
        # Read on the whole bucket: without it not even whether there is one can be asked. The last name is that of the
        # objects by which a store tries out its server.
        merges="\"Read:$bucket\", \"List:$bucket\""
        for names in 'bronze/*' 'silver/*' 'gold/*' 'quality/*' '.daedalus-probe-*'; do
            merges="$merges, \"Write:$bucket/$names\""
        done
        identity compactor per-service/compactor_access_key per-service/compactor_secret_key "$merges"
        printf ',\n'
        identity reader per-service/reader_access_key per-service/reader_secret_key "\"Read:$bucket\", \"List:$bucket\""
        printf '\n]}\n'
    } | write s3_identities.json
fi

make_secret grafana_admin_password
