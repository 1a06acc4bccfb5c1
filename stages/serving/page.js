// The page of talk. Names of files stay here: the server is sent their bytes, and gives keys that it drew by chance.

const by = (id) => document.getElementById(id);
const chosen = { face: null, sound: null }; // {file, name, url, sent: Promise of a key}
const own = new Map(); // by a job's key: what was chosen for it
const cards = new Map();
let about = { most: Infinity, max_side: 1920, usual: {} };
let polling = false;

function tell(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

async function answer(path, options) {
  let found;
  try {
    found = await fetch(path, options);
  } catch {
    by("lost").hidden = false;
    throw new Error("the page's command has ended");
  }
  by("lost").hidden = true;
  if (!found.ok) {
    const said = await found.json().catch(() => ({}));
    throw new Error(said.error || `${found.status} ${found.statusText}`);
  }
  return found;
}

// Files: chosen, dropped or recorded

function send(file, bar) {
  const request = new XMLHttpRequest();
  const sent = new Promise((good, bad) => {
    request.open("POST", "files");
    request.upload.onprogress = (event) => { bar.value = event.loaded / Math.max(event.total, 1); };
    request.onload = () => {
      let said = {};
      try { said = JSON.parse(request.responseText); } catch { /* the status says it */ }
      if (request.status === 201) good(said.key);
      else bad(new Error(said.error || `${request.status} ${request.statusText}`));
    };
    request.onerror = () => bad(new Error("it could not be sent; is the page's command still running?"));
    request.onabort = () => bad(new Error("another was chosen"));
    request.send(file);
  });
  sent.catch(() => {});
  return [sent, () => request.abort()];
}

function drop(kind) {
  const old = chosen[kind];
  if (!old) return;
  old.stop();
  old.sent.then((key) => fetch(`files/${key}`, { method: "DELETE" })).catch(() => {});
  chosen[kind] = null;
}

function preview(kind, file, url) {
  const made = document.createElement(kind === "face" ? (file.type.startsWith("video/") ? "video" : "img") : "audio");
  made.src = url;
  if (made.localName === "img") made.alt = "the chosen face";
  else made.controls = true;
  if (made.localName === "video") made.muted = made.loop = made.playsInline = true;
  return made;
}

function choose(kind, file, recorded = false) {
  const zone = by(`${kind}-zone`);
  const [wrong, bar, line, view] = [".error", ".sending", ".chosen", ".preview"].map((name) => zone.querySelector(name));
  drop(kind);
  tell(wrong, "");
  tell(line, "");
  view.hidden = bar.hidden = true;
  zone.querySelector(".hint").hidden = false;
  if (kind === "face") by("which").value = "";
  if (file.size > about.most) {
    tell(wrong, `error: ${file.name}: ${(file.size / 2 ** 20).toFixed(0)} MB, and ${about.most / 2 ** 20} MB are the most; cut it`);
    return;
  }
  if (kind === "face") film(file.type.startsWith("video/"));
  const url = URL.createObjectURL(file);
  view.replaceChildren(preview(kind, file, url));
  view.hidden = bar.hidden = false;
  zone.querySelector(".hint").hidden = true;
  bar.value = 0;
  tell(line, file.name);
  if (recorded) {
    const save = document.createElement("a");
    Object.assign(save, { href: url, download: file.name, textContent: "save it" });
    line.append(", ", save);
  }
  const [sent, stop] = send(file, bar);
  const mine = (chosen[kind] = { file, name: file.name, url, sent, stop });
  sent.then(
    () => { if (chosen[kind] === mine) bar.hidden = true; },
    (error) => {
      if (chosen[kind] !== mine) return;
      bar.hidden = true;
      tell(wrong, `error: ${file.name}: ${error.message}`);
      chosen[kind] = null;
    },
  );
}

for (const kind of ["face", "sound"]) {
  const zone = by(`${kind}-zone`);
  const input = by(`${kind}-file`);
  input.addEventListener("change", () => {
    if (input.files.length) choose(kind, input.files[0]);
    input.value = "";
  });
  for (const name of ["dragenter", "dragover"]) {
    zone.addEventListener(name, (event) => { event.preventDefault(); zone.classList.add("over"); });
  }
  zone.addEventListener("dragleave", (event) => { if (!zone.contains(event.relatedTarget)) zone.classList.remove("over"); });
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files.length) choose(kind, event.dataTransfer.files[0]);
  });
}
for (const name of ["dragover", "drop"]) { // beside a zone a file would replace the page
  addEventListener(name, (event) => event.preventDefault());
}

by("face-zone").querySelector(".preview").addEventListener("click", (event) => {
  const picture = event.target;
  if (picture.localName !== "img") return;
  const box = picture.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const scale = Math.min(1, about.max_side / Math.max(picture.naturalWidth, picture.naturalHeight));
  by("which").value = `${Math.round(x * picture.naturalWidth * scale)},${Math.round(y * picture.naturalHeight * scale)}`;
  by("which").dispatchEvent(new Event("input"));
  const mark = document.createElement("span");
  mark.className = "mark";
  mark.style.left = `${picture.offsetLeft + x * picture.offsetWidth}px`;
  mark.style.top = `${picture.offsetTop + y * picture.offsetHeight}px`;
  picture.parentElement.append(mark);
});
by("which").addEventListener("input", () => by("face-zone").querySelectorAll(".mark").forEach((mark) => mark.remove()));

// Camera and microphone

function unusable(what, error) {
  return `error: the ${what} can't be used (${error.message || error.name}); allow it in the browser, or choose a file`;
}

async function device(what, wanted) {
  if (!navigator.mediaDevices) throw new Error("this browser gives none to this address; open it as http://127.0.0.1");
  return navigator.mediaDevices.getUserMedia(wanted);
}

by("camera").addEventListener("click", async () => {
  const wrong = by("face-zone").querySelector(".error");
  tell(wrong, "");
  let stream;
  try {
    stream = await device("camera", { video: { width: { ideal: 1280 }, height: { ideal: 720 } } });
  } catch (error) {
    tell(wrong, unusable("camera", error));
    return;
  }
  by("viewfinder").srcObject = stream;
  by("camera-dialog").showModal();
});
by("take").addEventListener("click", () => {
  const video = by("viewfinder");
  if (!video.videoWidth) return;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((made) => choose("face", new File([made], "camera.png", { type: "image/png" }), true), "image/png");
  by("camera-dialog").close();
});
by("leave").addEventListener("click", () => by("camera-dialog").close());
by("camera-dialog").addEventListener("close", () => {
  by("viewfinder").srcObject?.getTracks().forEach((track) => track.stop());
  by("viewfinder").srcObject = null;
});

let recorder = null;
by("microphone").addEventListener("click", async () => {
  if (recorder) {
    recorder.stop();
    return;
  }
  const [button, wrong] = [by("microphone"), by("sound-zone").querySelector(".error")];
  tell(wrong, "");
  let stream;
  try {
    stream = await device("microphone", { audio: true });
    recorder = new MediaRecorder(stream);
  } catch (error) {
    stream?.getTracks().forEach((track) => track.stop());
    tell(wrong, unusable("microphone", error));
    return;
  }
  const parts = [];
  const begun = performance.now();
  const show = () => { button.textContent = `Stop (${((performance.now() - begun) / 1000).toFixed(0)} s)`; };
  const clock = setInterval(show, 500);
  show();
  button.setAttribute("aria-pressed", "true");
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    clearInterval(clock);
    stream.getTracks().forEach((track) => track.stop());
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Record";
    const kind = recorder.mimeType.split(";")[0] || "audio/webm";
    recorder = null;
    choose("sound", new File(parts, `microphone.${kind.split("/")[1]}`, { type: kind }), true);
  };
  recorder.start(1000);
});

// Sliders

const words = {
  motion: (value) => (value === 0 ? "none" : value === about.usual.motion ? `${value} (usual)` : `${value}`),
  blink: (value) => (value === 0 ? "none" : `one in ${(1 / value).toFixed(1)} s`),
};

function owns(name) { // whether the face is a video, whose own motion or blinks are kept
  return !by(`${name}-own`).parentElement.hidden && by(`${name}-own`).checked;
}

function show(name) {
  const said = owns(name) ? "the video's own" : words[name](Number(by(name).value));
  by(name).disabled = owns(name);
  by(name).previousElementSibling.textContent = said;
  by(name).setAttribute("aria-valuetext", said);
}

function film(is) {
  for (const name of Object.keys(words)) {
    by(`${name}-own`).parentElement.hidden = !is;
    show(name);
  }
}

for (const name of Object.keys(words)) {
  by(name).addEventListener("input", () => show(name));
  by(`${name}-own`).addEventListener("change", () => show(name));
}

function asked(preview) {
  const found = {};
  const video = !by("motion-own").parentElement.hidden;
  for (const name of Object.keys(words)) {
    const value = Number(by(name).value);
    if (!owns(name) && (video || value !== about.usual[name])) found[name] = value;
  }
  for (const name of ["start", "seconds", "steps", "seed"]) {
    if (by(name).value !== "") found[name] = Number(by(name).value);
  }
  if (by("which").value) found.which = by("which").value;
  if (by("label").checked) found.label = "synthetic";
  if (preview) found.preview = true;
  return found;
}

// Jobs

by("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const refused = by("refused");
  tell(refused, "");
  const missing = ["face", "sound"].filter((kind) => !chosen[kind]);
  if (missing.length) {
    tell(refused, `Choose a ${missing.join(" and a ")} first.`);
    by(`${missing[0]}-file`).focus();
    return;
  }
  const mine = { ...chosen };
  const wanted = asked(event.submitter?.value === "preview");
  try {
    const [face, sound] = await Promise.all([mine.face.sent, mine.sound.sent]);
    const body = JSON.stringify({ face, sound, asked: wanted });
    const made = await answer("jobs", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const { key } = await made.json();
    own.set(key, mine);
    await refresh();
    if (matchMedia("(max-width: 50rem)").matches) cards.get(key)?.scrollIntoView({ block: "start" });
    poll();
  } catch (error) {
    tell(refused, `error: ${error.message}`);
  }
});

function quoted(word) {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

function command(job) {
  const mine = own.get(job.key);
  const files = [mine?.face.name ?? "FACE", mine?.sound.name ?? "SOUND"].map((name) => (name.startsWith("-") ? `./${name}` : name));
  return job.command.map((word) => quoted(word ?? files.shift())).join(" ");
}

function state(job) {
  const seconds = (value) => (value < 60 ? `${value.toFixed(1)} s` : `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`);
  if (job.stopping) return "Being cancelled";
  switch (job.state) {
    case "waiting": return `Waits; ${job.ahead === 1 ? "one video is" : `${job.ahead} videos are`} made before it`;
    case "reading": return "Reads the face and the sound";
    case "making": {
      if (job.frames === job.total) return `${job.total} frames; looks at the result`;
      const left = job.left_s === null ? "" : `, ${job.rate.toFixed(1)} a second, ${seconds(job.left_s)} left`;
      return `${job.frames} of ${job.total} frames${left}`;
    }
    case "done": return `${job.total} frames in ${seconds(job.took_s)}; the first after ${seconds(job.first_s)}`;
    case "cancelled": return "Cancelled";
    default: return "Not made";
  }
}

function card(job) {
  const made = by("job").content.firstElementChild.cloneNode(true);
  const mine = own.get(job.key);
  made.querySelector("h2").textContent = mine ? `${mine.face.name} says ${mine.sound.name}` : "A video asked for before";
  made.querySelector("code").textContent = command(job);
  made.querySelector(".cancel").addEventListener("click", async () => {
    await answer(`jobs/${job.key}`, { method: "DELETE" }).catch(() => {});
    await refresh();
  });
  made.querySelector(".copy").addEventListener("click", async (event) => {
    const code = made.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      event.target.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      event.target.textContent = "Selected: copy it by the keyboard";
    }
  });
  return made;
}

function finish(made, job) {
  const mine = own.get(job.key);
  const video = made.querySelector(".pair video");
  video.src = `jobs/${job.key}/video`;
  made.querySelector(".pair").hidden = made.querySelector(".after").hidden = false;
  const stem = (name) => name.replace(/\.[^.]+$/, "");
  const save = made.querySelector(".save");
  save.href = video.src;
  save.download = mine ? `${stem(mine.face.name)}-${stem(mine.sound.name)}.mp4` : "talk.mp4";
  if (mine) {
    const source = made.querySelector(".source");
    source.firstElementChild.replaceChildren(preview("face", mine.face.file, mine.face.url));
    source.hidden = false;
  }
}

function update(made, job) {
  if (made.dataset.state !== job.state) {
    by("said").textContent = `${made.querySelector("h2").textContent}: ${state(job)}`;
    if (job.state === "done") finish(made, job);
    const list = made.querySelector(".warnings");
    list.replaceChildren(...job.warnings.map((text) => Object.assign(document.createElement("li"), { textContent: `warning: ${text}` })));
    list.hidden = !job.warnings.length;
    const name = job.about && own.get(job.key)?.[job.about].name;
    tell(made.querySelector(".error"), job.error && `error: ${job.about ? `${name ?? job.about}: ` : ""}${job.error}`);
  }
  made.dataset.state = job.state;
  tell(made.querySelector(".state"), state(job));
  const active = ["waiting", "reading", "making"].includes(job.state);
  const bar = made.querySelector("progress");
  bar.hidden = !active || job.state === "waiting";
  if (job.total) [bar.max, bar.value] = [job.total, job.frames];
  else bar.removeAttribute("value");
  made.querySelector(".cancel").hidden = !active;
  made.querySelector(".cancel").disabled = job.stopping;
  return active;
}

async function refresh() {
  const found = await (await answer("jobs")).json();
  const keys = new Set(found.map((job) => job.key));
  for (const [key, made] of cards) {
    if (!keys.has(key)) {
      made.remove();
      cards.delete(key);
      own.delete(key);
    }
  }
  let active = false;
  for (const job of found) {
    if (!cards.has(job.key)) {
      cards.set(job.key, card(job));
      by("jobs").prepend(cards.get(job.key));
    }
    active = update(cards.get(job.key), job) || active;
  }
  by("none").hidden = found.length > 0;
  return active;
}

async function poll() {
  if (polling) return;
  polling = true;
  try {
    while (await refresh()) await new Promise((good) => setTimeout(good, 300));
  } catch { /* the line above the form says it */ }
  polling = false;
}

try {
  about = await (await answer("about")).json();
  by("model").textContent = about.model;
  by("motion").value = about.usual.motion;
  by("blink").value = about.usual.blink;
  by("seed").placeholder = about.usual.seed;
} catch { /* the line above the form says it */ }
for (const name of Object.keys(words)) show(name);
poll();
