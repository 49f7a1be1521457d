# The platform's programs (web, gateway, gate, worker, beat) for development. The code itself is
# mounted by docker-compose.yml, so that pages reload; only what it needs is in here.
FROM node:22-bookworm-slim AS front-end
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY static/src static/src
COPY templates templates
RUN npm run build

FROM python:3.12-slim-bookworm
# Pango writes the letters of PDF invoices.
RUN apt-get update -q \
    && apt-get install -q -y --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.txt \
    && useradd --uid 10001 --no-create-home platform \
    && install -d -o platform /var/lib/beat
COPY --from=front-end /build/static/build /srv/bundle
ENV DC_STATIC_BUNDLE=/srv/bundle \
    DJANGO_SETTINGS_MODULE=marketplace.settings \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER platform
