/** The REST API, from the service's own OpenAPI document; the library that draws it is loaded when somebody looks. */

import { useEffect, useRef, useState } from "preact/hooks";
import { base, inWords } from "../service.ts";
import { Notice } from "../ui.tsx";

export function ReferencePage() {
  const place = useRef<HTMLDivElement>(null);
  const [problem, setProblem] = useState("");
  const [there, setThere] = useState(false);
  useEffect(() => {
    let gone = false;
    const show = async () => {
      const [{ default: swagger }] = await Promise.all([
        import("swagger-ui-dist/swagger-ui-es-bundle.js"), import("swagger-ui-dist/swagger-ui.css"),
      ]);
      if (gone || place.current === null) return;
      swagger({
        domNode: place.current, url: `${base}/v1/openapi.json`, validatorUrl: null, docExpansion: "list",
        defaultModelsExpandDepth: 0, displayRequestDuration: true, onComplete: () => setThere(true),
      });
    };
    show().catch((caught) => setProblem(inWords(caught)));
    return () => { gone = true; };
  }, []);
  return (
    <div class="reference">
      <h1>REST API</h1>
      <p class="dim">Of this very service (<a href={`${base}/v1/openapi.json`}>openapi.json</a>). "Try it out" sends real requests with
        your session. The WebSockets are written down in docs/protocol.md.</p>
      {problem && <Notice kind="bad">{problem}</Notice>}
      {!there && !problem && <p class="dim"><span class="spinner" /> Loading …</p>}
      <div ref={place} class="swagger" />
    </div>
  );
}
