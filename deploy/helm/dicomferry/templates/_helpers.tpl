{{- define "dicomferry.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "dicomferry.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dicomferry.labels" -}}
{{ include "dicomferry.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "dicomferry.image" -}}
{{- $repository := required "image.repository: name the image of deploy/server/Dockerfile" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ required "image.tag or image.digest: name the version of the image" .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "dicomferry.scheme" -}}
{{- ternary "HTTPS" "HTTP" (not (empty .Values.tls.secret)) -}}
{{- end -}}

{{- define "dicomferry.url" -}}
{{- if .Values.url -}}
{{ .Values.url }}
{{- else if .Values.ingress.enabled -}}
{{ ternary "https" "http" (not (empty .Values.ingress.tlsSecret)) }}://{{ .Values.ingress.host }}
{{- end -}}
{{- end -}}

{{- define "dicomferry.args" -}}
- serve
- --host=0.0.0.0
- {{ printf "--root=%s" (.Values.root | default "/data") | quote }}
- {{ printf "--auth=/auth/%s" .Values.auth.key | quote }}
- {{ printf "--max-jobs=%d" (int .Values.maxJobs) | quote }}
{{- with include "dicomferry.url" . }}
- {{ printf "--url=%s" . | quote }}
{{- end }}
{{- with .Values.oidc }}
{{- if .issuer }}
- {{ printf "--oidc-issuer=%s" .issuer | quote }}
- {{ printf "--oidc-audience=%s" (required "oidc.audience: what tokens have in their claim aud" .audience) | quote }}
- {{ printf "--oidc-groups-claim=%s" .groupsClaim | quote }}
{{- end }}
{{- end }}
{{- if .Values.tls.secret }}
- --tls-cert=/tls/tls.crt
- --tls-key=/tls/tls.key
{{- end }}
{{- range .Values.allow.read }}
- {{ printf "--allow-read=%s" . | quote }}
{{- end }}
{{- range .Values.allow.write }}
- {{ printf "--allow-write=%s" . | quote }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}
