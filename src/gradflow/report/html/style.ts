/** The page's style sheet: system fonts, one column that widens into side by side, tables that scroll alone. */

import { paletteRules } from "./palette.ts";

const layout = `
*{box-sizing:border-box}
html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,main,footer{max-width:1760px;margin:0 auto;padding:0 clamp(14px,3vw,48px)}
header{padding-top:40px}
h1{font-size:clamp(1.5rem,1.1rem + 1.6vw,2.3rem);line-height:1.2;margin:.1em 0 .3em;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.45rem;margin:0 0 .5em;overflow-wrap:anywhere}
h3{font-size:1.1rem;margin:2.2em 0 .3em;overflow-wrap:anywhere}
h4{font-size:1rem;margin:0 0 .5em;overflow-wrap:anywhere}
section{margin-top:48px;padding-top:28px;border-top:1px solid var(--rule)}
p{max-width:80ch;overflow-wrap:anywhere}
a{color:var(--link)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:2px}
code,pre{font:.86em/1.5 ui-monospace,"Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
pre{overflow-x:auto;padding:10px 12px;background:var(--raised);border-radius:6px}
pre code{overflow-wrap:normal}
footer{margin-top:56px;padding-top:20px;padding-bottom:48px;border-top:1px solid var(--rule);color:var(--soft);font-size:.9rem}
.kicker{margin:0;color:var(--soft);font-size:.85rem;letter-spacing:.08em;text-transform:uppercase}
.byline,.how,.small,figcaption,caption{color:var(--soft)}
.byline,.small{font-size:.9rem}
.how{margin:.2em 0 1em;font-size:.95rem}
.lead{font-size:1.08rem}
.notice{background:var(--notice);padding:10px 14px;border-radius:6px}
nav,figcaption,caption,.math,.keys{overflow-wrap:anywhere}
nav ul{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:18px 0 0;padding:0}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:28px 36px;align-items:start}
.grid>*{min-width:0}
.grid.thirds{grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:20px}
.cards+.grid{margin-top:28px}
.card{align-self:start;background:var(--raised);border-radius:8px;padding:16px 20px;min-width:0}
.card h3{margin:0 0 .5em}
.card ul{margin:0;padding-left:1.1em}
.card li{margin:.4em 0;overflow-wrap:anywhere}
dl{margin:0}
dt{font-weight:600;overflow-wrap:anywhere}
dd{margin:0 0 .7em;overflow-wrap:anywhere}
.methods{columns:2 520px;column-gap:48px}
.methods dd{break-before:avoid;break-inside:avoid}
.scroll{overflow-x:auto;max-width:100%}
.stack{display:grid;grid-template-columns:minmax(0,1fr);gap:20px}
@media (min-width:2000px){html{font-size:18px}header,main,footer{max-width:2100px}}
`;

const tables = `
table{border-collapse:collapse;font-size:.93rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.9rem;padding:0 0 8px;caption-side:top}
th,td{padding:5px 12px 5px 0;text-align:left;vertical-align:top}
th:last-child,td:last-child{padding-right:4px}
thead th{border-bottom:1.5px solid var(--ink);vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:500}
.compact tbody th,.comparison tbody th{min-width:14ch}
tbody tr+tr>*{border-top:1px solid var(--grid)}
tbody tr:last-child>*{border-bottom:1.5px solid var(--ink)}
.n{text-align:right;white-space:nowrap;padding-left:12px}
.n.left{text-align:left;padding-left:0}
td.best{font-weight:700}
.interval{display:block;font-size:.8rem;font-weight:400;color:var(--soft)}
.arrow{color:var(--soft)}
.note{color:var(--soft);min-width:16ch;max-width:52ch}
.gap{color:var(--soft);border-bottom:1px dotted var(--soft);text-decoration:none;cursor:help;font-style:italic}
.comparison{width:100%}
.rows{width:auto;min-width:100%}
.rows thead th{white-space:normal;min-width:9ch;max-width:16ch}
.rows tbody th,.rows thead th:first-child{position:sticky;left:0;background:var(--page);z-index:1;min-width:12ch;max-width:min(30ch,38vw);overflow-wrap:anywhere}
.after{margin-top:26px}
td.text{text-align:right;min-width:14ch;max-width:44ch;padding-left:12px}
button{font:inherit;color:inherit;cursor:pointer}
.sort{background:none;border:0;padding:0;font-weight:600;text-align:inherit}
.sort::after{content:" \\2195";color:var(--soft);font-weight:400}
[aria-sort=ascending] .sort::after{content:" \\2191";color:var(--ink)}
[aria-sort=descending] .sort::after{content:" \\2193";color:var(--ink)}
.tool{background:var(--page);border:1px solid var(--rule);border-radius:4px;font-size:.75rem;padding:1px 8px;color:var(--soft);vertical-align:1px}
.tool:hover{color:var(--ink);border-color:var(--soft)}
details{margin:10px 0}
summary{cursor:pointer;color:var(--link);font-size:.92rem;overflow-wrap:anywhere}
details .scroll{margin-top:8px;max-height:420px;overflow:auto}
.folded{margin-top:14px}
sup{line-height:0}
.matrix th,.matrix td{text-align:center;padding:3px 4px;min-width:38px;height:34px;vertical-align:middle}
.matrix tbody tr>*,.matrix tbody tr+tr>*,.matrix thead th{border:2px solid var(--page)}
.matrix.many th,.matrix.many td{min-width:27px;height:27px;padding:1px}
.matrix.many .pick{padding:1px 2px;font-size:.85rem}
.matrix .off{background:var(--raised)}
.matrix .sum{color:var(--soft);font-weight:400;text-align:center}
td.single,.swatch.single{background:var(--single-tint);color:var(--first)}
td.reused,.swatch.reused{background:var(--duplicate-tint);color:var(--duplicate)}
.matrix td.across,.swatch.across{background:var(--across-tint);color:var(--across)}
tr.across td{color:var(--across)}
.pick{background:none;border:0;padding:2px 6px;font-size:1rem;border-radius:4px}
.pick[aria-pressed=true]{background:var(--ink);color:var(--page)}
.keys{display:flex;flex-wrap:wrap;gap:4px 22px;font-size:.9rem;color:var(--soft);max-width:none}
.swatch{display:inline-block;width:1.7em;text-align:center;border-radius:3px}
.unit{color:var(--soft);font-weight:400}
@media (max-width:520px){table{font-size:.86rem}th,td{padding-right:7px}.n{padding-left:5px}.sort::after{content:none}}
`;

const mathematics = `
.symbol,.equations{font-family:"STIX Two Math","STIX Two Text","Cambria Math",Cambria,"TeX Gyre Termes","Liberation Serif",Georgia,"Times New Roman",serif}
.symbol{white-space:nowrap;font-weight:400}
.symbol sub,.symbol sup{font-size:.72em;line-height:0;font-style:normal}
.symbol sup{font-size:1em;vertical-align:baseline}
.primes-1 sub{margin-left:-.34em}
.primes-2 sub{margin-left:-.62em}
.primes-3 sub{margin-left:-.9em}
.equations{list-style:none;margin:0 0 .8em;padding:0;font-size:1.13rem;line-height:1.75}
.equations li{padding-left:1.6em;text-indent:-1.6em}
.equations .symbol{text-indent:0}
.math-label{margin:.6em 0 .1em;color:var(--soft);font-size:.82rem;letter-spacing:.05em;text-transform:uppercase}
mark{background:var(--duplicate-tint);color:var(--duplicate);border-radius:3px;padding:0 2px;border-bottom:2px dashed var(--duplicate)}
.equations mark{padding:1px 2px 0}
.legend dt{float:left;clear:left;min-width:3.2em}
.legend dd{margin:0 0 .15em 3.4em}
`;

const figures = `
figure{margin:0 0 8px}
figcaption{font-size:.9rem;margin-top:4px}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--ink)}
svg .letter{font-family:"STIX Two Text",Cambria,"TeX Gyre Termes","Liberation Serif",Georgia,"Times New Roman",serif;font-style:italic;font-size:1.15em}
svg .index{font-size:.75em}
svg .tick,svg .label{fill:var(--soft);font-size:11px}
.chart{display:block;width:100%;max-width:560px;height:auto}
svg .rule{stroke:var(--grid)}
svg .axis{stroke:var(--soft);stroke-width:1}
.series path{fill:none;stroke:var(--line);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.series circle{fill:var(--line)}
.series .dots{stroke-width:6;stroke-dasharray:none}
.series .seed{stroke-width:1.2;stroke-dasharray:none;opacity:.75}
.series .whisker{stroke-dasharray:none}
.band polygon{fill:var(--line);opacity:.14}
.grid:not(.thirds) .band polygon{opacity:.07}
.series.off{display:none}
.grid .chart{max-width:860px}
.thirds .chart{max-width:560px}
.series .name{fill:var(--line);font-weight:600}
.series.faint path{stroke-width:1;opacity:.3}
.s1 path{stroke-dasharray:7 4}
.s2 path{stroke-dasharray:2 4}
.s3 path{stroke-dasharray:10 4 2 4}
.s4 path{stroke-dasharray:14 4}
.s5 path{stroke-dasharray:5 3 2 3 2 3}
.s6 path{stroke-dasharray:1 3}
.s7 path{stroke-dasharray:3 6}
.faint path{stroke-dasharray:none}
.quads{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,270px),1fr));gap:10px 18px}
.small-figure .chart{max-width:420px}
.small-figure figcaption{font-size:.84rem}
.diagram{display:block;width:100%;max-width:880px;height:auto}
.scroll>.diagram{min-width:560px}
.diagram[data-size=fixed]{width:auto;max-width:none}
.forward{fill:none;stroke:var(--forward);stroke-width:1.1}
.piece path{fill:none;stroke:var(--first);stroke-opacity:.9}
.piece polygon{fill:var(--first)}
.piece.duplicate path{stroke:var(--duplicate);stroke-dasharray:6 3.5}
.piece.duplicate polygon{fill:var(--duplicate)}
.piece.across path{stroke:var(--across);stroke-dasharray:1.5 3.5;stroke-linecap:round}
.piece.across polygon{fill:var(--across)}
.layer circle{fill:var(--page);stroke:var(--ink);stroke-width:1.3}
.diagram .label{font-size:12px}
.layer text{font-size:10.5px}
.map rect{fill:var(--main-fill);stroke:var(--main-line);stroke-width:1.3}
.map.dense rect{fill:var(--dense-fill);stroke:var(--dense-line)}
.map.bypass rect{fill:var(--bypass-fill);stroke:var(--bypass-line)}
.map text{font-size:13.5px}
.map .size{font-size:10.5px;fill:var(--soft)}
[data-pick]{cursor:pointer}
[data-in]{transition:opacity .12s}
svg .unlit{opacity:.12}
svg .map.unlit,svg .layer.unlit{opacity:.4}
.matrix .lit{outline:2px solid var(--ink);outline-offset:-3px}
tr.lit>*{background:var(--raised)}
mark.lit{outline:2px solid var(--duplicate)}
.lit.forward{stroke:var(--ink);stroke-width:1.8}
.heats{display:flex;flex-wrap:wrap;gap:14px 26px}
.heats figure{max-width:100%}
.heat{display:block;max-width:none}
.cell rect{stroke:var(--page);stroke-width:1}
.cell text{font-size:11px}
.qx rect{fill:none;stroke:var(--soft);stroke-dasharray:2 2}
.qx text{fill:var(--soft)}
.heat-controls{display:flex;flex-wrap:wrap;gap:8px 28px;align-items:center;margin:0 0 14px;font-size:.92rem;color:var(--soft)}
.slider{display:flex;align-items:center;gap:8px}
.slider[hidden],.shown-step[hidden]{display:none}
.slider input[type=range]{width:min(46vw,260px);accent-color:var(--link)}
.slider select{font:inherit;color:var(--ink);background:var(--page);border:1px solid var(--soft);border-radius:4px;max-width:60vw}
.heat-value{color:var(--ink);font-variant-numeric:tabular-nums}
.readout{height:13.5rem;overflow:auto;margin-top:8px;padding:8px 12px;background:var(--raised);border-radius:6px;font-size:.88rem;color:var(--soft)}
.readout:empty{display:none}
.readout th,.readout td{color:var(--ink)}
.readout td{overflow-wrap:anywhere}
.variant-keys fieldset{border:1px solid var(--rule);border-radius:6px;display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 18px;padding:8px 14px 12px;min-width:0}
.variant-keys legend{color:var(--soft);font-size:.9rem;padding:0 6px}
.variant-keys label{color:var(--line);font-weight:600;font-size:.9rem;overflow-wrap:anywhere}
.variant-keys input{accent-color:var(--line)}
section[hidden]{display:none}
.explorer-chart{min-height:360px;min-width:0;overflow:hidden}
.spoken{position:absolute;width:1px;height:1px;margin:0;overflow:hidden;clip-path:inset(50%)}
.explorer-values{margin-top:10px;max-height:24rem;overflow:auto}
.explorer-values th[class]{color:var(--line);font-weight:600}
.explorer-values thead th[class]{color:var(--ink)}
.live-bar{position:sticky;top:0;z-index:3;background:var(--notice);padding:6px clamp(14px,3vw,48px);font-size:.9rem}
.live-bar .tool{color:var(--ink)}
.variant{border-top:1px solid var(--rule);margin:0;padding:10px 0}
.variant>summary{font-size:1rem;padding:4px 0}
.variant>summary strong{color:var(--ink)}
.variant h5{margin:2em 0 .3em;font-size:1.02rem}
.variant .stage>h4{margin:1em 0 .3em;font-size:1.2rem}
.variant section{margin-top:24px;padding-top:8px}
output{min-width:4ch;color:var(--ink);font-variant-numeric:tabular-nums}
`;

const print = `
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}[data-in]{transition:none}}
@media print{
@page{margin:16mm 14mm}
body{font-size:9.5pt}
nav,#explorer,.live-bar,.tool,.slider,.readout,.variant-keys,details:not([open]),.sort::after{display:none}
details .scroll{max-height:none}
.rows tbody th,.rows thead th:first-child{position:static}
.rows{font-size:6pt;table-layout:fixed;width:100%;min-width:0}
.rows th,.rows td{padding-right:2pt}
.rows thead th,.rows tbody th,.rows thead th:first-child{min-width:0;max-width:none;hyphens:auto;overflow-wrap:anywhere}
.rows .n{white-space:normal;padding-left:2pt}
.interval{font-size:5.2pt}
.sort::after{content:""}
.shown-step[hidden]{display:inline}
header,main,footer{max-width:none;padding:0}
section{margin-top:18pt;padding-top:10pt}
.stage{break-before:page}
h2,h3,h4{break-after:avoid}
figure,tr,.card{break-inside:avoid}
.scroll{overflow:visible}
.grid{grid-template-columns:repeat(2,1fr);gap:14pt}
.scroll>.diagram{min-width:0}
.diagram[data-size=fixed]{width:100%}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
`;

/** The style sheet's text; its hash stands in the page's content security policy. */
export const styleSheet: string = [paletteRules(), layout, tables, mathematics, figures, print].join("\n");
