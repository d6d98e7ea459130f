import { defineConfig } from "vite";

// The service shows what is built at its root, which may be below a prefix, and serves the rest below static/.
export default defineConfig(({ command }) => ({
  base: command === "build" ? "./" : "/",
  build: {
    outDir: "../../service/web",
    assetsDir: "static/assets",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the content policy knows no data: scripts
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
  },
  worker: { format: "es" },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/v1": { target: "http://127.0.0.1:8700", ws: true }, "/readyz": "http://127.0.0.1:8700" } },
}));
