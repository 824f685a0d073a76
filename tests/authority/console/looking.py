"""What can be judged of a page from the styles that a browser computed: scripts for `Tab.value`."""

CONTRAST = """
(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
  const channel = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ratio = (one, two) => {
    const [low, high] = [light(one), light(two)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (each) => {
    const layers = [];
    for (let at = each; at !== null; at = at.parentElement) layers.push(numbers(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = [];
  const judge = (each, colour, ground, wanted, what) => {
    const is = ratio(over(numbers(colour), ground), ground);
    found.push([Math.round(is * 100) / 100, wanted, what, each.outerHTML.slice(0, 120)]);
  };
  for (const each of document.querySelectorAll("body *")) {
    if (!each.checkVisibility() || each.closest(".unseen")) continue;
    const style = getComputedStyle(each);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const words = [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== "");
    if (words && each.localName !== "title")
      judge(each, each instanceof SVGElement ? style.fill : style.color, behind(each), large ? 3 : 4.5, "text");
    if (each.matches("input:not([type=hidden]), select, textarea")) {
      judge(each, style.color, behind(each), 4.5, "value");
      const hint = getComputedStyle(each, "::placeholder").color;
      if (each.placeholder) judge(each, hint, behind(each), 4.5, "placeholder");
      if (each.type !== "checkbox") judge(each, style.borderTopColor, behind(each.parentElement), 3, "edge");
    }
    if (each.matches("button.primary")) judge(each, style.backgroundColor, behind(each.parentElement), 3, "edge");
    if (each.matches(".line.score, .line.other, .dot")) {
      for (const band of document.querySelectorAll(".band"))
        judge(each, style.stroke, over(numbers(getComputedStyle(band).fill), behind(each)), 3, "line");
    }
  }
  return found;
})()
"""
"""Of each text, field, edge and line: contrast, the least that WCAG 2.2 (1.4.3, 1.4.11) takes, what, and where."""

UNNAMED = """
[...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, summary, a[href], svg[role=img]")]
  .filter((each) => {
    const labels = [...(each.labels ?? [])].map((label) => label.textContent).join("");
    const title = each.querySelector("title")?.textContent ?? "";
    return (labels + (each.getAttribute("aria-label") ?? "") + each.textContent + title).trim() === "";
  }).map((each) => each.outerHTML)
"""
"""Controls and drawings without words."""

HEADINGS = "[...document.querySelectorAll('h1, h2, h3, h4')].map((each) => Number(each.localName[1]))"
BARE_CELLS = """
[...document.querySelectorAll("table")].filter((each) => {
  const heads = [...each.querySelectorAll("th")];
  const rows = [...each.tBodies[0].rows].every((row) => row.cells[0].scope === "row");
  return !(each.caption && rows && heads.every((head) => head.scope) && each.tHead.querySelector("th[scope=col]"));
}).map((each) => each.outerHTML.slice(0, 200))
"""
"""Tables without a caption, or with headings that do not say of what."""

MOVING = """
[...document.querySelectorAll("*")].filter((each) => {
  const style = getComputedStyle(each);
  return style.animationName !== "none" || style.transitionDuration.split(",").some((text) => parseFloat(text) > 0);
}).length
"""
