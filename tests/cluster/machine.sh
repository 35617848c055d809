#!/usr/bin/env bash
# A machine to bring a cluster up on: processes, /tmp and home of its own, reached by SSH at 127.0.0.1.
#
#   unshare --pid --fork --mount --mount-proc --kill-child machine.sh FOLDER
#
# FOLDER is its disk, seen there as /mnt: home/, tmp/, shared/, authorized_keys, host_key. In a PID namespace `ray stop`
# sees only what was started on this machine, and with the first process all others end.
set -euo pipefail

mount --bind "$1" /mnt
mount --bind /mnt/tmp /tmp                    # Ray's sessions, and what `ray up` knows of a cluster
sed 's#^root:.*#root:*:0:0:root:/mnt/home:/bin/bash#' /etc/passwd > /mnt/passwd
mount --bind /mnt/passwd /etc/passwd          # where sshd looks up a home
mkdir -p /run/sshd

exec "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /dev/null \
  -o ListenAddress=127.0.0.1:22 -o HostKey=/mnt/host_key -o AuthorizedKeysFile=/mnt/authorized_keys \
  -o PidFile=none -o StrictModes=no -o UsePAM=no -o PasswordAuthentication=no -o PermitRootLogin=prohibit-password
