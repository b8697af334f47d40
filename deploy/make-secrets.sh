#!/bin/sh
# Makes the stack's secrets, in deploy/secrets or the folder that is named. What is there is kept.
#
# Only you can enter the folder. The files in it can be read by whoever gets one mounted, since Compose mounts a secret
# with the mode that it has, and the containers' users are not yours.
set -eu

folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"
umask 222

random() { # so many bytes, in hex
    head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

keep() { # a file's text from standard input, unless the file is there
    if [ -e "$1" ]; then
        cat > /dev/null
    else
        cat > ".$1.new"
        mv ".$1.new" "$1"
        echo "made $folder/$1"
    fi
}

key() { # one setting of a file of S3 credentials
    sed -n "s/^$2 = //p" "$1"
}

identity() { # name, and the actions that it may take, as JSON
    printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": [%s]}' \
        "$1" "$(key "store_$1" aws_access_key_id)" "$(key "store_$1" aws_secret_access_key)" "$2"
}

on_bucket() { # what the user of one bucket may do
    printf '"Read:%s", "Write:%s", "List:%s", "Tagging:%s"' "$1" "$1" "$1" "$1"
}

for name in postgres_password ledger_password mlflow_database_password mlflow_password mlflow_secret_key ray_token; do
    random 32 | keep "$name"
done
printf 'twr_%s' "$(random 32)" | keep service_token
for name in admin mlflow trialwright; do
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$(random 10)" "$(random 32)" |
        keep "store_$name"
done
printf '{"identities": [\n%s,\n%s,\n%s\n]}\n' \
    "$(identity admin '"Admin", "Read", "Write", "List", "Tagging"')" \
    "$(identity mlflow "$(on_bucket mlflow)")" \
    "$(identity trialwright "$(on_bucket trialwright)")" | keep store_identities
