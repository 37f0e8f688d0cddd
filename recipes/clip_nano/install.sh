#!/usr/bin/env bash
# Packages with the pre-training pictures and fonts (Debian 12, as root), and the emoji sets from npm.
#   bash install.sh NPM_FOLDER
set -euo pipefail
npm_folder=${1:?usage: bash install.sh NPM_FOLDER}

apt-get update
apt-get install -y --no-install-recommends \
    openclipart-png tuxpaint-stamps-default gnome-icon-theme mate-icon-theme oxygen-icon-theme \
    fonts-cantarell fonts-croscore fonts-crosextra-caladea fonts-crosextra-carlito fonts-ebgaramond fonts-firacode \
    fonts-freefont-ttf fonts-gfs-artemisia fonts-gfs-bodoni-classic fonts-gfs-didot fonts-gfs-neohellenic \
    fonts-hack-ttf fonts-inconsolata fonts-lato fonts-liberation fonts-linuxlibertine fonts-noto-core \
    fonts-open-sans fonts-roboto-unhinted fonts-sil-gentium
pip install fonttools resvg-py

mkdir -p "$npm_folder"
cd "$npm_folder"
for set in twemoji@1.2.5 noto@1.2.9 noto-v1@1.2.5 fluent-emoji-flat@1.2.6 emojione@1.2.3 emojione-v1@1.2.3 \
    fxemoji@1.2.2 streamline-emojis@1.2.4; do
    archive=$(npm pack --silent "@iconify-json/$set")
    mkdir -p "iconify-json-${set%@*}"
    tar xzf "$archive" -C "iconify-json-${set%@*}" --strip-components 1
done
