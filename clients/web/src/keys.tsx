/** The keys that do something, told under "?". */

import { useEffect, useRef } from "preact/hooks";

const KEYS: [keys: string, what: string][] = [
  ["?", "show this"], ["Esc", "close it"], ["Space", "pause the view, or go on"], ["← →", "step 5 ms back or on"],
  ["+ −", "zoom in or out"], ["0", "show the whole sensor"], ["Ctrl or ⌘ and the wheel", "zoom where the pointer is"],
];

export function Keys() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const typing = (event.target as HTMLElement).closest?.("input, textarea, select, [contenteditable]");
      if (event.key !== "?" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      dialog.current?.open ? dialog.current.close() : dialog.current?.showModal();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
  return (
    <>
      <button class="quiet keys" aria-label="Keyboard shortcuts" onClick={() => dialog.current?.showModal()}>?</button>
      <dialog ref={dialog} aria-labelledby="keys-title">
        <h2 id="keys-title">Keyboard shortcuts</h2>
        <p class="dim">Those of the view count while it has the focus.</p>
        <table><tbody>{KEYS.map(([keys, what]) => <tr key={keys}><th scope="row"><kbd>{keys}</kbd></th><td>{what}</td></tr>)}</tbody></table>
        <form method="dialog"><button>Close</button></form>
      </dialog>
    </>
  );
}
