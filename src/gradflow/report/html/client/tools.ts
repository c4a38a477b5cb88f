/** Script of the page: finding and making elements, unpacking data, setting symbols. */
export const toolScript = String.raw`
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (name, properties, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };
  const button = (text, label, action) => {
    const node = make("button", { type: "button", className: "tool", textContent: text, onclick: action });
    node.setAttribute("aria-label", label);
    return node;
  };
  const unpack = (id) => {
    const text = atob(document.getElementById(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  };
  // As symbolHtml of the page's maker sets it.
  const symbol = (text) => {
    const match = /^([A-Za-z])_(?:\{([^{}]+)\}|([A-Za-z0-9]+))('*)$/.exec(text);
    if (match === null) return document.createTextNode(text);
    const count = match[4].length;
    const node = make("span", { className: count > 0 ? "symbol primes-" + Math.min(3, count) : "symbol" });
    node.append(make("var", { textContent: match[1] }));
    if (count > 0) node.append(make("sup", { textContent: ["", "′", "″", "‴"][count] ?? "′".repeat(count) }));
    node.append(make("sub", { textContent: match[2] ?? match[3] }));
    return node;
  };
  const listed = (nodes) => nodes.flatMap((node, i) => (i === 0 ? [node] : [", ", node]));
  const minus = (text) => text.replace(/^-(?=[\d.])/, "−");
`;
