# Builds Weir and leaves only what it runs on.
# docker build -t weir . && docker run -p 3100:3100 -p 24224:24224 -v weir-data:/data weir

FROM node:22-bookworm AS build
WORKDIR /app
# Dependencies first: they change less often than the code, so this layer is mostly cached. Install scripts are off
# because ours builds sources that are not there yet; zlib-sync, which WEIR_INFLATE can choose to inflate with, is built alone.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts && npm rebuild zlib-sync
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY parsers ./parsers
COPY sinks ./sinks
COPY bench ./bench
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:22-bookworm-slim
ENV NODE_ENV=production \
    WEIR_DATA=/data \
    WEIR_HTTP=0.0.0.0:3100 \
    WEIR_FORWARD=0.0.0.0:24224
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY bin ./bin
COPY pipelines ./pipelines
# `weir` by its name, for `docker exec NAME weir query …`.
RUN ln -s /app/bin/weir.js /usr/local/bin/weir \
    && mkdir /data \
    && chown node:node /data
USER node
VOLUME /data
EXPOSE 3100 24224
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.WEIR_HTTP.split(':').pop() + '/ready').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["weir"]
CMD ["run", "pipelines/quickstart.yaml"]
