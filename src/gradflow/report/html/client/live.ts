/**
 * Script of the page while the training goes on: fetches the page again when there is a newer report, and leaves what the
 * reader opened, chose and focused as it was. In a page from a file nothing of this runs.
 */
export const liveScript = `
  // Live ------------------------------------------------------------------------------------------------------
  const keyOf = (details) => (details.closest(".variant")?.id ?? "") + "|" + details.querySelector("summary").textContent;
  const controls = () => all("main select, main .slider input");
  const stateOf = (control) => {
    if (control.tagName === "SELECT") return control.selectedOptions[0]?.textContent;
    if (control.type === "checkbox") return control.checked;
    return control.value === control.max ? "last" : control.value;
  };
  const restore = (control, state) => {
    if (state === undefined || state === stateOf(control)) return;
    if (control.tagName === "SELECT") control.value = [...control.options].find((one) => one.textContent === state)?.value ?? control.value;
    else if (control.type === "checkbox") control.checked = state;
    else control.value = state === "last" ? control.max : state;
    control.dispatchEvent(new Event(control.type === "range" ? "input" : "change", { bubbles: true }));
  };
  const nameOf = (node) => node.tagName + "|" + (node.closest("[data-scope]")?.dataset.scope ?? "") + "|" +
    (node.getAttribute("aria-label") ?? node.dataset.pick ?? node.textContent.trim());
  const refresh = async () => {
    const response = await fetch("./");
    const next = new DOMParser().parseFromString(await response.text(), "text/html");
    const open = new Set(all("main details[open]").map(keyOf));
    const states = controls().map(stateOf);
    const focused = document.activeElement?.closest("main") ? nameOf(document.activeElement) : null;
    const held = pinned === null ? null : nameOf(pinned);
    const top = scrollY;
    pinned = null;
    for (const id of ["report", "parts"])
      document.getElementById(id).textContent = next.getElementById(id).textContent;
    document.querySelector("header").replaceWith(next.querySelector("header"));
    document.querySelector("main").replaceWith(next.querySelector("main"));
    document.documentElement.dataset.live = next.documentElement.dataset.live;
    [report, parts] = await Promise.all([unpack("report"), unpack("parts")]);
    enliven(document.querySelector("main"));
    // What is folded within folded parts shows up as they are unfolded.
    for (const details of document.querySelector("main").getElementsByTagName("details")) {
      details.open = open.has(keyOf(details));
      if (details.open) unfold(details);
    }
    controls().forEach((control, i) => restore(control, states[i]));
    const find = (name) => all("main [tabindex], main button, main a, main summary, main select, main input").find((node) => nameOf(node) === name);
    if (held !== null) {
      const target = find(held);
      if (target) pin(target);
    }
    if (focused !== null) find(focused)?.focus({ preventScroll: true });
    scrollTo({ top, behavior: "instant" });
  };
  const enlivenLive = () => {
    if (document.documentElement.dataset.live !== "running") return;
    const said = make("span", { textContent: "Live: this page follows the training." });
    said.setAttribute("role", "status");
    let paused = false;
    let pending = false;
    const show = async () => {
      pending = false;
      try {
        await refresh();
      } catch {
        said.textContent = "The training cannot be reached any more; this is its last report.";
      }
    };
    const events = new EventSource("events");
    const follow = (version) => {
      if (paused) pending = true;
      else if (version !== shownVersion) show();
      shownVersion = version;
    };
    let shownVersion = null;
    events.addEventListener("report", ({ data }) => {
      // The first one tells of the report that the page was opened with.
      if (shownVersion === null) shownVersion = data;
      else follow(data);
    });
    events.addEventListener("end", async ({ data }) => {
      paused = false;
      if (data !== shownVersion) await show();
      shownVersion = data;
      said.textContent = "The training has ended; this is its last report.";
      pause.remove();
      events.close();
    });
    events.onerror = () => {
      if (events.readyState !== EventSource.CLOSED) said.textContent = "The training does not answer; this is its last report so far.";
    };
    events.onopen = () => {
      said.textContent = "Live: this page follows the training.";
    };
    const pause = button("Pause", "Pause: keep the page as it is", () => {
      paused = !paused;
      pause.textContent = paused ? "Go on" : "Pause";
      pause.setAttribute("aria-label", paused ? "Go on: follow the training again" : "Pause: keep the page as it is");
      if (!paused && pending) show();
    });
    document.body.prepend(make("div", { className: "live-bar" }, said, " ", pause));
  };
`;
