// Before anything is drawn: the theme that was chosen, if one was.
"use strict";
try {
  const theme = localStorage.getItem("cuecard-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* no storage: as the system says */ }
