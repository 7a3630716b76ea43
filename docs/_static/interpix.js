// What scrolls can be reached by keys, and the theme's captions and side bars say to a screen reader what they are.
document.addEventListener("DOMContentLoaded", () => {
  for (const part of document.querySelectorAll("article pre, article .table-wrapper")) {
    part.tabIndex = 0;
  }
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) {
    caption.setAttribute("aria-level", "2");
  }
  document.querySelector("aside.sidebar-drawer")?.setAttribute("aria-label", "Pages");
  document.querySelector("aside.toc-drawer")?.setAttribute("aria-label", "On this page");
});
