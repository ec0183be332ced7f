# Makes image.tar, an image `base` in docker's format, and rootfs.tar, its only layer: busybox under
# all its names, two users, and a command that runs another one and does not end at once. pause.tar is the same but for its command: what holds a pod.
set -e
mkdir rootfs
cd rootfs
mkdir -p bin dev etc home proc root sys tmp usr/bin var
chmod 1777 tmp
cp /bin/busybox bin/busybox
chroot . /bin/busybox --install -s /bin
echo '#!/bin/sh
"$@"
code=$?
sleep 0.2
exit $code' >bin/lingering
chmod 755 bin/lingering
echo 'root:x:0:0:root:/root:/bin/sh
guest:x:1000:1000:guest:/home:/bin/sh' >etc/passwd
echo 'root:x:0:
guest:x:1000:
extra:x:2000:guest' >etc/group
tar --sort=name --mtime=@0 -cf ../rootfs.tar .
cd ..
rm -r rootfs

layer=$(sha256sum <rootfs.tar | cut -d' ' -f1)
image() {
    echo '{"architecture":"amd64","os":"linux","config":{"Cmd":['"$2"'],"Env":["PATH=/bin:/usr/bin"]},
    "rootfs":{"type":"layers","diff_ids":["sha256:'"$layer"'"]}}' >config.json
    echo '[{"Config":"config.json","RepoTags":["localhost/'"$1"':latest"],"Layers":["rootfs.tar"]}]' >manifest.json
    tar -cf "$3" manifest.json config.json rootfs.tar
}
image base '"sh"' image.tar
image pause '"sleep","100000"' pause.tar
