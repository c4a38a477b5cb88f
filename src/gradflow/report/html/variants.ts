/** Many networks one by one: the baseline open, the others folded away until somebody asks for one. */

import { formatValue } from "../format.ts";
import type { ReportVariant } from "../schema.ts";
import type { PageContext } from "./context.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { variantCards, variantId } from "./overview.ts";
import { stageContents, stageViews } from "./stage.ts";
import { curveTables } from "./training.ts";

export function variantsSection(page: PageContext): Markup {
  return element(
    "section",
    { id: "variants" },
    element("h2", {}, "Networks one by one"),
    element(
      "p",
      { class: "how" },
      "Stages with their gradients, equations, and what was measured on them. Diagrams and curves of all networks have " +
        "one scale. Open several to compare them; what is open is printed.",
    ),
    page.report.variants.map((variant, v) => {
      const attributes = { id: variantId(v), class: "variant" };
      const title = [element("strong", {}, variant.name), ` ${keyFigures(variant)}`];
      const contents = variantContents(page, variant, v);
      return v === 0
        ? element("details", { ...attributes, open: true }, element("summary", {}, title), contents)
        : page.parts.folded(title, contents, attributes);
    }),
  );
}

function keyFigures({ accuracy, cost, counterfactual, description }: ReportVariant): string {
  const edited = counterfactual
    ? `${counterfactual.edit} of ${counterfactual.of}, ${counterfactual.pieces} pieces; `
    : "";
  const figures = [
    `${formatValue(accuracy.test, "fraction")} right`,
    `${formatValue(cost.parameters, "count")} parameters`,
  ];
  return `${edited}${description === "" ? "" : `${description}; `}${figures.join(", ")}`;
}

function variantContents(page: PageContext, variant: ReportVariant, v: number): Content {
  return [
    element("h3", {}, variant.name),
    element("div", { class: "cards" }, variantCards(page.report, variant.name)),
    variant.counterfactual &&
      element(
        "p",
        { class: "how" },
        `The network of ${variant.counterfactual.of}, trained with edited gradients (${variant.counterfactual.edit}); ` +
          "its structure is drawn without the edit.",
      ),
    variant.stages.map(({ name }) => {
      const all = stageViews(page.report, name);
      const own = all.filter((view) => view.variant === variant.name);
      return element(
        "section",
        { class: "stage" },
        element("h4", {}, `${variant.name}, ${name}`),
        stageContents(page, name, own, all, "h5"),
      );
    }),
    element("div", { class: "folded" }, curveTables(page, variant, v)),
  ];
}
