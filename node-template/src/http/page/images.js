// The images in the network, as thumbnails that load when they come into view. The list is polled
// while the page is visible.

import { arrange, by, bytes, count, make, setText } from "./dom.js";
import { ask, hasToken } from "./request.js";

const EVERY = 20_000;
const SHOWN = 24;
/** Larger images get no thumbnail: loading it would cost the network too much. In bytes. */
const LARGE = 8 * 1024 * 1024;
const FAILED = "not available";
/** An img element draws it, a bitmap is not made of it. */
const DRAWING = /\.svg$/i;
const PICTURE = /\.(apng|avif|bmp|gif|ico|jpe?g|png|svg|webp)$/i;

const list = by("images");
const more = by("images-more");
let shown = SHOWN;
let known = { images: [], more: false };
/** By name and size: the figure, and what is written below it. */
const figures = new Map();
let asking = false;

/** Returns the image itself, or a text in its place. */
function thumbnail(image, path) {
  const instead = (text) => make("span", { class: "instead" }, text);
  if (!PICTURE.test(image.name)) return instead("no preview");
  if (image.size > LARGE) return instead("large");
  if (hasToken()) return DRAWING.test(image.name) ? instead("no preview") : painted(path, instead);
  const picture = make("img", { src: path, alt: "", loading: "lazy", decoding: "async", width: 160, height: 120 });
  picture.addEventListener("error", () => picture.replaceWith(instead(FAILED)));
  return picture;
}

/** Fetches and draws an image: an img element cannot send the token. */
function painted(path, instead) {
  const canvas = make("canvas", { width: 320, height: 240, "aria-hidden": "true" });
  const paint = async () => {
    try {
      const bitmap = await createImageBitmap(await (await ask(path, { patient: true })).blob());
      const scale = Math.min(canvas.width / bitmap.width, canvas.height / bitmap.height, 1);
      const [width, height] = [bitmap.width * scale, bitmap.height * scale];
      canvas.getContext("2d").drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
      bitmap.close();
    } catch {
      canvas.replaceWith(instead(FAILED));
    }
  };
  const view = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    view.disconnect();
    paint();
  });
  view.observe(canvas);
  return canvas;
}

/** Fetches and saves an image: a link cannot send the token. */
async function save(path, name) {
  const url = URL.createObjectURL(await (await ask(path, { patient: true })).blob());
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

const keyOf = (image) => `${image.size} ${image.name}`;

function where(image) {
  const others = image.nodes > 0 ? count(image.nodes, image.here ? "other node" : "node") : null;
  return [image.here ? "this node" : image.kept ? "cached here" : null, others].filter(Boolean).join(", ");
}

/** Returns the figure of an image. One that is there already is kept: its image is not loaded again,
 * unless that failed and other nodes have it now. */
function figure(image) {
  const key = keyOf(image);
  const text = `${bytes(image.size)} · ${where(image)}`;
  const known = figures.get(key);
  if (known !== undefined && (known.text.textContent === text || known.whole.querySelector(".instead")?.textContent !== FAILED)) {
    setText(known.text, text);
    return known.whole;
  }
  const path = `images/${encodeURIComponent(image.name)}`;
  const link = make("a", { href: path, title: image.name, target: "_blank", rel: "noopener" }, thumbnail(image, path), make("span", { class: "name" }, image.name));
  if (hasToken()) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      save(path, image.name).catch((error) => setText(by("images-summary"), error.message));
    });
  }
  const small = make("small", { class: "quiet" }, text);
  const whole = make("li", {}, link, small);
  figures.set(key, { whole, text: small });
  return whole;
}

function draw() {
  const some = known.images.slice(0, shown);
  const all = new Set(known.images.map(keyOf));
  for (const key of figures.keys()) if (!all.has(key)) figures.delete(key);
  arrange(list, some.map(figure));
  more.hidden = known.images.length <= shown;
  const summary = `${count(known.images.length, "image")}${known.more ? " and more" : ""}`;
  setText(by("images-summary"), known.images.length === 0 ? "None yet. Put a file into the folder images of any node." : summary);
}

async function refresh() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    known = await (await ask("api/images")).json();
    draw();
  } catch {
    // The page shows elsewhere that the node is gone. The old list stays.
  } finally {
    asking = false;
  }
}

export const begin = () => refresh();

more.addEventListener("click", () => {
  shown += SHOWN;
  draw();
});
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, EVERY);
