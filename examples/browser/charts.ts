/** The loss curves and the similarity tables, drawn as they come. */
import type { NetworkName, Similarity } from "./messages.ts";

const svgNamespace = "http://www.w3.org/2000/svg";
const margin = { left: 44, right: 12, top: 12, bottom: 28 };
const size = { width: 720, height: 260 };

function svgElement(
  name: string,
  attributes: Readonly<Record<string, string | number>>,
  text = "",
): SVGElement {
  const element = document.createElementNS(svgNamespace, name);
  for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, String(value));
  element.textContent = text;
  return element;
}

/** Loss by step, one curve a network. */
export class LossChart {
  readonly #svg: SVGElement;
  readonly #steps: number;
  readonly #losses = new Map<NetworkName, number[]>();

  constructor(svg: SVGElement, steps: number) {
    this.#svg = svg;
    this.#steps = steps;
    this.#draw();
  }

  add(network: NetworkName, loss: number): void {
    const losses = this.#losses.get(network) ?? [];
    this.#losses.set(network, losses);
    losses.push(loss);
    this.#draw();
  }

  #draw(): void {
    const all = [...this.#losses.values()].flat();
    const top = Math.max(2.5, ...all);
    const x = (step: number): number =>
      margin.left + (step / Math.max(1, this.#steps - 1)) * (size.width - margin.left - margin.right);
    const y = (loss: number): number =>
      margin.top + (1 - loss / top) * (size.height - margin.top - margin.bottom);
    const marks: SVGElement[] = [0, 0.5, 1, 1.5, 2, 2.5].flatMap((loss) => [
      svgElement("line", {
        x1: margin.left,
        x2: size.width - margin.right,
        y1: y(loss),
        y2: y(loss),
        stroke: "var(--line)",
      }),
      svgElement(
        "text",
        { x: margin.left - 8, y: y(loss) + 4, "text-anchor": "end", "font-size": 12, fill: "var(--faint)" },
        loss.toFixed(1),
      ),
    ]);
    const lastStep = svgElement(
      "text",
      {
        x: size.width - margin.right,
        y: size.height - 8,
        "text-anchor": "end",
        "font-size": 12,
        fill: "var(--faint)",
      },
      `step ${this.#steps - 1}`,
    );
    const curves = [...this.#losses].map(([network, losses]) =>
      svgElement("polyline", {
        points: losses.map((loss, step) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(" "),
        fill: "none",
        "stroke-width": 2,
        stroke: network === "DenseNet" ? "var(--dense)" : "var(--csp)",
      }),
    );
    this.#svg.replaceChildren(...marks, lastStep, ...curves);
    const last = [...this.#losses].map(
      ([network, losses]) => `${network} ${losses[losses.length - 1].toFixed(3)}`,
    );
    this.#svg.setAttribute(
      "aria-label",
      `Loss by step${last.length > 0 ? `: now ${last.join(", ")}` : ", no step yet"}`,
    );
  }
}

/** A color from white (0) to red (1) or blue (-1); the number stands in the cell as well. */
function shade(value: number): string {
  const strength = Math.round(Math.min(1, Math.abs(value)) * 60);
  return `color-mix(in srgb, ${value < 0 ? "var(--csp)" : "var(--dense)"} ${strength}%, transparent)`;
}

function cell(tag: "td" | "th", text: string): HTMLTableCellElement {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

/** The table of one feature map. */
function similarityTable(title: string, { consumers, cosine }: Similarity): HTMLTableElement {
  const table = document.createElement("table");
  const caption = table.createCaption();
  caption.textContent = title;
  const head = table.createTHead().insertRow();
  head.append(cell("th", ""), ...consumers.map((name) => cell("th", name)));
  const body = table.createTBody();
  cosine.forEach((row, i) => {
    const line = body.insertRow();
    line.append(cell("th", consumers[i]));
    for (const value of row) {
      const entry = cell("td", value === null ? "–" : value.toFixed(2));
      if (value !== null) entry.style.background = shade(value);
      line.append(entry);
    }
  });
  return table;
}

/** Shows the map of each network's first stage that most layers read. */
export function showSimilarity(
  container: HTMLElement,
  network: NetworkName,
  step: number,
  maps: readonly Similarity[],
): void {
  const [first] = [...maps].sort((a, b) => b.consumers.length - a.consumers.length);
  if (!first) return;
  const table = similarityTable(`${network}, ${first.stage}, x_${first.map}, step ${step}`, first);
  table.id = `similarity-${network}`;
  const before = container.querySelector(`#similarity-${network}`);
  if (before) before.replaceWith(table);
  else container.append(table);
}
