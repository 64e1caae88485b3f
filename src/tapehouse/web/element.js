// One element with text in it: what upstreams tell is shown as text, never as markup.

export function element(tag, content, kind = "") {
  const made = document.createElement(tag);
  made.textContent = content;
  if (kind) made.className = kind;
  return made;
}
