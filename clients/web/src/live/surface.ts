/**
 * A time surface on a WebGL canvas: each pixel shines as exp(-(now - t) / tau), t the time of its last event, in the
 * colour of that event's polarity. One float a pixel goes to the card for each picture: the time, and by its sign the
 * polarity.
 */

const VERTEX = `#version 300 es
in vec2 corner;
out vec2 at;
void main() { at = corner * 0.5 + 0.5; gl_Position = vec4(corner, 0.0, 1.0); }`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform highp sampler2D last;
uniform vec4 area;   // left, top, width, height of what is shown, pixels of the sensor
uniform float now;   // ms
uniform float tau;   // ms
uniform vec3 on, off, ground;
in vec2 at;
out vec4 colour;
void main() {
  vec2 pixel = area.xy + vec2(at.x, 1.0 - at.y) * area.zw;
  ivec2 size = textureSize(last, 0);
  if (any(lessThan(pixel, vec2(0.0))) || any(greaterThanEqual(pixel, vec2(size)))) { colour = vec4(ground * 0.6, 1.0); return; }
  float value = texelFetch(last, ivec2(pixel), 0).r;
  float age = now - abs(value);
  float shine = value == 0.0 || age < 0.0 ? 0.0 : exp(-age / tau);
  colour = vec4(mix(ground, value > 0.0 ? on : off, shine), 1.0);
}`;

const REBASE_MS = 60_000;
export type Area = [left: number, top: number, width: number, height: number];
export type Colour = [number, number, number];

/** No WebGL 2 in this browser. */
export class NoWebGl extends Error {}

export class Surface {
  readonly width: number;
  readonly height: number;
  readonly #gl: WebGL2RenderingContext;
  readonly #last: Float32Array;
  readonly #places: Record<"area" | "now" | "tau" | "on" | "off" | "ground", WebGLUniformLocation | null>;
  /** Stream time that the texture's zero stands for, us. */
  #baseUs = 0;
  #changed = true;

  constructor(canvas: HTMLCanvasElement, width: number, height: number) {
    const gl = canvas.getContext("webgl2", { antialias: false, alpha: false, depth: false, desynchronized: true });
    if (gl === null) throw new NoWebGl("This browser offers no WebGL 2, which the view is drawn with.");
    const most = gl.getParameter(gl.MAX_TEXTURE_SIZE) as number;
    if (Math.max(width, height) > most) throw new NoWebGl(`This browser draws at most ${most} pixels a side, and the sensor has ${width}×${height}.`);
    this.#gl = gl;
    this.width = width;
    this.height = height;
    canvas.width = width;
    canvas.height = height;
    gl.viewport(0, 0, width, height);
    this.#last = new Float32Array(width * height);
    const program = link(gl);
    gl.useProgram(program);
    const place = (name: string) => gl.getUniformLocation(program, name);
    this.#places = { area: place("area"), now: place("now"), tau: place("tau"), on: place("on"), off: place("off"), ground: place("ground") };
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(program, "corner");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.R32F, width, height);
  }

  /** Forget everything; what comes next is near this time. */
  clear(nearUs = 0): void {
    this.#last.fill(0);
    this.#baseUs = nearUs - 1000;
    this.#changed = true;
  }

  event(tUs: number, x: number, y: number, p: number): void {
    if (x >= this.width || y >= this.height) return;
    const ms = (tUs - this.#baseUs) * 1e-3;
    if (ms > REBASE_MS || ms <= 0) {
      this.#rebase(tUs);
      this.event(tUs, x, y, p);
      return;
    }
    this.#last[y * this.width + x] = p ? ms : -ms;
    this.#changed = true;
  }

  events(t: ArrayLike<number>, x: ArrayLike<number>, y: ArrayLike<number>, p: ArrayLike<number>): void {
    for (let i = 0; i < t.length; i++) this.event(t[i]!, x[i]!, y[i]!, p[i]!);
  }

  /** (time of the last event in us, its polarity) of a pixel; null where there was none. */
  look(x: number, y: number): [number, boolean] | null {
    const value = this.#last[y * this.width + x];
    return value === undefined || value === 0 ? null : [this.#baseUs + Math.abs(value) * 1e3, value > 0];
  }

  draw(nowUs: number, tauMs: number, area: Area, on: Colour, off: Colour, ground: Colour): void {
    const gl = this.#gl, places = this.#places;
    if (this.#changed) {
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, this.width, this.height, gl.RED, gl.FLOAT, this.#last);
      this.#changed = false;
    }
    gl.uniform4f(places.area, ...area);
    gl.uniform1f(places.now, (nowUs - this.#baseUs) * 1e-3);
    gl.uniform1f(places.tau, tauMs);
    gl.uniform3f(places.on, ...on);
    gl.uniform3f(places.off, ...off);
    gl.uniform3f(places.ground, ...ground);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  /** Let the card have its memory back. */
  close(): void {
    this.#gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  /** Times as floats stay exact to a few us: begin to count anew every minute. */
  #rebase(nearUs: number): void {
    const baseUs = nearUs - 10_000_000 < this.#baseUs ? nearUs - 1000 : nearUs - 10_000_000;
    const shift = (baseUs - this.#baseUs) * 1e-3;
    for (let i = 0; i < this.#last.length; i++) {
      const value = this.#last[i]!, ms = Math.abs(value) - shift;
      this.#last[i] = value === 0 || ms <= 0 || ms > REBASE_MS ? 0 : Math.sign(value) * ms;
    }
    this.#baseUs = baseUs;
  }
}

function link(gl: WebGL2RenderingContext): WebGLProgram {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind)!;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new NoWebGl(gl.getShaderInfoLog(shader) ?? "shader");
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  return program;
}
