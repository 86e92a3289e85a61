// What the parts of the script share: the table, its rows, and makers of elements. All text goes in as textContent.
const table = document.getElementById("board");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const data = JSON.parse(document.getElementById("data").textContent);
const said = document.getElementById("said");
// Opened details by their row.
const details = new Map();

const named = (id) => document.getElementById(id);
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const drawn = (name, attributes, text) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

const rows = () => [...body.querySelectorAll("tr.row")];
const shownRows = () => rows().filter((row) => !row.hidden);
const dataOf = (row) => data.rows[Number(row.dataset.row)];
const rowOf = (number) => body.querySelector(`tr.row[data-row="${number}"]`);

const written = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages opened from a file may not have the clipboard: select the text in a field and use the old way.
    const field = element("textarea", { class: "unseen", "aria-hidden": "true" });
    const before = document.activeElement;
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before.focus();
    return done;
  }
};
const copy = async (text, button, what) => {
  const done = await written(text);
  const label = button.dataset.label ?? button.textContent;
  button.dataset.label = label;
  button.textContent = done ? "Copied" : "Not allowed here";
  said.textContent = done ? `${what} copied` : `${what}: this browser does not allow copying`;
  setTimeout(() => { button.textContent = label; }, 1500);
};
